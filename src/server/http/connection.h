#pragma once
#include <array>
#include <chrono>
#include <cstddef>
#include <list>
#include <memory>
#include <string>

#include "server/http/http_context.h"
#include "server/http/http_exchange.h"
#include "server/http/request_head.h"
#include "server/http/socket.h"

namespace boost::asio {
class io_context;
}

namespace kl {

/// One client's connection: reads requests, one after the other, has them answered and sends the replies.
///
/// How       one coroutine holds the protocol.  It sleeps until something was read or written, an endpoint has something to
///           send, or a deadline has passed.  A read is pending all the time, so that a client that goes is noticed while
///           its reply is in the making; what it sends ahead waits, up to kMostAhead, for its turn.
/// Threads   the I/O thread alone.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  /// Serves `socket` until it closes.  `client` is its address, empty if it has none.
  static void start(boost::asio::io_context& io, std::unique_ptr<Socket> socket, std::string client,
                    HttpContext& context);

  Connection(boost::asio::io_context& io, std::unique_ptr<Socket> socket, std::string client, HttpContext& context);
  ~Connection();

  void notify();     ///< something has changed
  void drop();       ///< closes at once
  void cut_short();  ///< ends the reply in the making with an error

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t kMostAhead = 64 << 10;
  static constexpr std::size_t kPiece = 8 << 10;

  struct Protocol;  ///< the coroutines
  struct Sleep;     ///< the timer they sleep on
  struct Busy;

  void read_ahead();
  void to_the_end_of_waiting();  ///< it is not idle.  REQUIRES: nothing is being answered
  bool is_gone() const { return is_at_end_ || is_closed_; }
  void log(const HttpExchange& exchange, Clock::time_point start, bool is_whole) const;

  std::unique_ptr<Socket> socket_;
  const std::string client_;
  HttpContext& context_;
  std::unique_ptr<Sleep> sleep_;
  bool is_notified_ = false;

  std::string in_;  ///< read and not yet used
  std::array<char, kPiece> piece_;
  bool is_reading_ = false, is_at_end_ = false, is_closed_ = false;

  std::shared_ptr<HttpExchange> exchange_;  ///< what is being answered
  std::list<Connection*>::iterator place_;  ///< in context_.connections
  std::list<Connection*>::iterator turn_;   ///< in context_.waiting, if nothing is being answered
};

}  // namespace kl
