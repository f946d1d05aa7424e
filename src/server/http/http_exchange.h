#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "server/exchange/exchange.h"
#include "server/http/body_charge.h"
#include "server/http/http_context.h"

namespace kl {

/// Exchange over a connection: turns replies into the bytes to be sent, which the connection takes.
class HttpExchange final : public Exchange {
 public:
  /// How a reply must look that neither the endpoint nor the client's request body decides.
  struct Form {
    bool is_head = false;      ///< no body
    bool is_http_1_0 = false;  ///< no chunks
    bool close = false;        ///< the connection ends with the reply
    Headers fields;            ///< for every reply: request id, CORS
  };

  /// `wake` is called when there is something to send or the reply has ended; `charge` is that of the request's body.
  HttpExchange(HttpRequest request, Form form, HttpContext& context, std::function<void()> wake,
               BodyCharge charge = {});

  const HttpRequest& request() const override { return request_; }
  void reply(int status, std::string content_type, std::string body, Headers extra = {}) override;
  void begin_stream(std::string content_type, Headers extra = {}) override;
  void write(std::string bytes) override;
  bool is_full() const override { return queue_.size() + in_flight_ > context_.limits.queued_bytes; }
  void end() override;
  bool is_open() const override { return is_open_; }
  void post(std::function<void()> work) override { context_.post(std::move(work)); }

  // For the connection.
  bool has_ended() const { return has_ended_; }
  bool is_event_stream() const { return is_event_stream_; }
  bool closes() const { return form_.close; }
  int status() const { return status_; }
  std::uint64_t body_bytes() const { return body_bytes_; }

  std::string take_queue();  ///< what is to be sent; counts as queued until sent()
  void sent();               ///< it was; may call on_drained
  void finish();             ///< the reply was sent whole: nobody is called any more
  void lose_client();        ///< calls on_closed, if the reply has not ended
  /// The server cannot wait: ends the reply with an error, and calls on_closed as if the client had gone.
  void cut_short(const ApiError& why);
  /// Runs what belongs to an endpoint; if it throws, the reply becomes, or ends in, an error.
  void guard(const std::function<void()>& work);

 private:
  const HttpRequest request_;
  const BodyCharge charge_;
  Form form_;
  const HttpContext& context_;
  std::function<void()> wake_;
  std::string queue_;
  std::size_t in_flight_ = 0;
  std::uint64_t body_bytes_ = 0;
  int status_ = 0;  ///< 0: no reply yet
  bool is_chunked_ = false, is_event_stream_ = false, has_ended_ = false;
  std::atomic<bool> is_open_{true};
};

}  // namespace kl
