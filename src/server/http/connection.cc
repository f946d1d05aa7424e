#include "server/http/connection.h"

#include <fmt/format.h>
#include <openssl/rand.h>

#include <algorithm>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "server/http/request_body.h"
#include "server/http/response_head.h"
#include "server/http/text.h"

namespace kl {
namespace {

namespace asio = boost::asio;

/// What the client calls the request, if that is a word; else one of our own.
std::string request_id(const Headers& headers) {
  constexpr std::size_t kLongest = 128, kBytes = 12;
  const std::string_view given = field_value(headers, "x-request-id").value_or("");
  if (given.size() <= kLongest && is_token(given)) return std::string(given);
  std::array<unsigned char, kBytes> random{};
  RAND_bytes(random.data(), static_cast<int>(random.size()));
  return fmt::format("req-{:02x}", fmt::join(random, ""));
}

/// The trace id of W3C's traceparent: 00-(32 hexadecimal digits)-(16)-(2).
std::string_view trace_id(const Headers& headers) {
  const std::string_view value = field_value(headers, "traceparent").value_or("");
  constexpr std::size_t kLength = 55, kTraceAt = 3, kTraceLength = 32, kParentAt = 36, kFlagsAt = 53;
  if (value.size() != kLength) return {};
  for (std::size_t i = 0; i < kLength; ++i) {
    const bool is_dash = i + 1 == kTraceAt || i + 1 == kParentAt || i + 1 == kFlagsAt;
    const bool is_hex = (value[i] >= '0' && value[i] <= '9') || (value[i] >= 'a' && value[i] <= 'f');
    if (is_dash ? value[i] != '-' : !is_hex) return {};
  }
  return value.substr(kTraceAt, kTraceLength);
}

/// Methods that HTTP knows: a path may refuse them with 405.  Any other is answered with 501.
bool is_known_method(std::string_view method) {
  for (const char* known : {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "QUERY"}) {
    if (method == known) return true;
  }
  return false;
}

}  // namespace

struct Connection::Sleep {
  asio::steady_timer timer;
};

/// While a connection answers, it is not among those that may be pushed out, and the server waits for it when it
/// drains.
struct Connection::Busy {
  Connection& self;
  std::list<Connection*> place;  ///< its element of context.waiting meanwhile

  Busy(Connection& connection, std::shared_ptr<HttpExchange> exchange) : self(connection) {
    self.exchange_ = std::move(exchange);
    place.splice(place.end(), self.context_.waiting, self.turn_);
    ++self.context_.exchanges;
  }
  Busy(const Busy&) = delete;
  ~Busy() {
    self.exchange_->finish();
    self.exchange_.reset();
    self.context_.waiting.splice(self.context_.waiting.end(), place);
    --self.context_.exchanges;
  }
};

struct Connection::Protocol {
  Connection& self;
  HttpContext& context = self.context_;
  const HttpLimits& limits = context.limits;

  /// Sleeps until notify(); false once `deadline` has passed.
  asio::awaitable<bool> wait(Clock::time_point deadline) {
    if (!self.is_notified_) {
      boost::system::error_code ignored;
      self.sleep_->timer.expires_at(deadline);
      co_await self.sleep_->timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    self.is_notified_ = false;
    co_return Clock::now() < deadline;
  }

  asio::awaitable<bool> handshake() {
    std::optional<std::size_t> outcome;
    self.socket_->handshake([this, &outcome, keep = self.shared_from_this()](std::size_t ok) {
      outcome = ok;
      self.notify();
    });
    const auto deadline = Clock::now() + limits.head_timeout;
    while (!outcome) {
      if (!co_await wait(self.is_closed_ ? Clock::time_point::max() : deadline)) self.drop();
    }
    co_return *outcome > 0;
  }

  /// Sends all of `bytes`; false if the client is gone or takes nothing for too long.
  asio::awaitable<bool> send(std::string bytes) {
    constexpr std::size_t kMostAtOnce = 64 << 10;
    for (std::size_t at = 0; at < bytes.size();) {
      if (self.is_closed_) co_return false;
      std::optional<std::size_t> written;
      self.socket_->write_some(bytes.data() + at, std::min(bytes.size() - at, kMostAtOnce),
                               [this, &written, keep = self.shared_from_this()](std::size_t n) {
                                 written = n;
                                 self.notify();
                               });
      const auto deadline = Clock::now() + limits.write_timeout;
      while (!written) {  // also after closing: the memory is ours until the write has ended
        if (!co_await wait(self.is_closed_ ? Clock::time_point::max() : deadline)) self.drop();
      }
      if (*written == 0) co_return false;
      at += *written;
    }
    co_return true;
  }

  /// Has an error (or the 204 of OPTIONS) sent instead of an endpoint's reply; false if the connection ends with that.
  asio::awaitable<bool> refuse(const RequestHead& head, ApiError error, Headers fields, bool goes_on) {
    const auto start = Clock::now();
    HttpRequest request = head.request;
    if (request.request_id.empty()) request.request_id = request_id(request.headers);
    fields.emplace_back("X-Request-Id", request.request_id);
    HttpExchange::Form form{request.method == "HEAD", head.is_http_1_0, !goes_on, std::move(fields)};
    HttpExchange exchange(std::move(request), std::move(form), context, [] {});
    if (error.message.empty()) {
      exchange.reply(error.status, "", "");
    } else {
      reply_error(exchange, error);
    }
    std::string bytes = exchange.take_queue();
    const bool sent = co_await send(std::move(bytes));
    self.log(exchange, start, sent);
    co_return sent && !exchange.closes();
  }

  /// The same for a request that is not read to its end: nothing is left to go on with.
  asio::awaitable<void> refuse(const RequestHead& head, ApiError error) {
    Headers fields = context.access.cors_fields(head.request);
    co_await refuse(head, std::move(error), std::move(fields), false);
  }

  /// Reads a head; nothing if none comes, or one that was refused.
  asio::awaitable<std::optional<RequestHead>> read_head(bool is_first) {
    const auto idle_deadline = Clock::now() + (is_first ? limits.head_timeout : limits.idle_timeout);
    while (self.in_.empty()) {
      if (self.is_gone() || (context.is_draining && !is_first)) co_return std::nullopt;
      self.read_ahead();
      if (!co_await wait(idle_deadline)) co_return std::nullopt;
    }
    HeadReader reader(limits);
    const auto deadline = Clock::now() + limits.head_timeout;
    while (true) {
      const Reading outcome = reader.read(self.in_);
      if (outcome == Reading::kDone) co_return std::move(reader.head());
      if (outcome == Reading::kRefused) {
        ApiError why = reader.refusal();
        co_await refuse(reader.head(), std::move(why));
        co_return std::nullopt;
      }
      if (self.is_gone()) co_return std::nullopt;
      self.read_ahead();
      if (!co_await wait(deadline)) {
        ApiError why{408, "request: expected its head in time, got a part"};
        co_await refuse(reader.head(), std::move(why));
        co_return std::nullopt;
      }
    }
  }

  /// Reads the body into head.request; false if it does not come, or was refused.
  asio::awaitable<bool> read_body(RequestHead& head, std::size_t max_bytes, BodyCharge& charge) {
    BodyReader reader(head, max_bytes, limits);
    std::string& body = head.request.body;
    const auto deadline = Clock::now() + limits.body_timeout;
    bool is_asked_for = !head.expects_continue;
    while (true) {
      const std::size_t before = body.size();
      const Reading outcome = reader.read(self.in_, body);
      charge.add(body.size() - before);
      std::optional<ApiError> why;
      if (outcome == Reading::kRefused) {
        why = reader.refusal();
      } else if (context.bodies_bytes > limits.bodies_bytes) {
        why = {503, "body: expected room for it beside those of other requests, got none", "", "busy"};
      } else if (outcome == Reading::kDone) {
        co_return true;
      } else if (self.is_gone()) {
        co_return false;
      } else if (!std::exchange(is_asked_for, true)) {
        std::string go_on = body.empty() ? "HTTP/1.1 100 Continue\r\n\r\n" : "";
        if (!co_await send(std::move(go_on))) co_return false;
        continue;  // the body may have come meanwhile
      } else {
        self.read_ahead();
        if (!co_await wait(deadline)) why = {408, "request: expected its body in time, got a part"};
      }
      if (why) {
        co_await refuse(head, std::move(*why));
        co_return false;
      }
    }
  }

  /// Sends what the endpoint writes until the reply has ended; false if the client has gone before.
  asio::awaitable<bool> transmit(HttpExchange& exchange) {
    auto silent_until = Clock::now() + limits.keepalive;
    while (true) {
      self.read_ahead();
      std::string bytes = exchange.take_queue();
      if (!bytes.empty()) {
        if (!co_await send(std::move(bytes))) co_return false;
        exchange.sent();
        silent_until = Clock::now() + limits.keepalive;
      } else if (exchange.has_ended()) {
        co_return true;
      } else if (self.is_gone()) {
        co_return false;
      } else if (!co_await wait(exchange.is_event_stream() ? silent_until : Clock::time_point::max())) {
        exchange.write(": keepalive\n\n");
      }
    }
  }

  /// Has an endpoint answer; false if the connection ends with that.
  asio::awaitable<bool> answer(HttpRequest request, BodyCharge charge, HttpExchange::Form form,
                               const Endpoint& endpoint) {
    const auto start = Clock::now();
    const auto wake = [this] { self.notify(); };
    const auto exchange =
        std::make_shared<HttpExchange>(std::move(request), std::move(form), context, wake, std::move(charge));
    const Busy busy(self, exchange);
    exchange->guard([&] { endpoint(exchange); });
    const bool is_whole = co_await transmit(*exchange);
    if (is_whole) {
      exchange->finish();
    } else {
      exchange->lose_client();
    }
    self.log(*exchange, start, is_whole);
    co_return is_whole && !exchange->closes();
  }

  /// One request and its reply; false if the connection ends with that.
  asio::awaitable<bool> serve_one(bool is_first, bool is_last) {
    std::optional<RequestHead> head = co_await read_head(is_first);
    if (!head) co_return false;
    self.to_the_end_of_waiting();
    HttpRequest& request = head->request;
    request.request_id = request_id(request.headers);
    const bool has_body = head->is_chunked || head->content_length > 0;
    bool goes_on = head->keep_alive && !is_last && !context.is_draining;
    Headers fields = context.access.cors_fields(request);
    const Router::Match match = context.router.find(request.method, request.path);
    if (const auto refusal = decide(request, match, fields)) {
      ApiError why = *refusal;
      co_return co_await refuse(*head, std::move(why), std::move(fields), goes_on && !has_body);
    }
    BodyCharge charge(context.bodies_bytes);
    if (!co_await read_body(*head, match.route->max_body, charge)) co_return false;
    fields.emplace_back("X-Request-Id", request.request_id);
    HttpExchange::Form form{request.method == "HEAD", head->is_http_1_0, !goes_on, std::move(fields)};
    co_return co_await answer(std::move(request), std::move(charge), std::move(form), match.route->endpoint);
  }

  /// Why no endpoint is asked, or the 204 that answers OPTIONS; `fields` of that reply are added.
  std::optional<ApiError> decide(const HttpRequest& request, const Router::Match& match, Headers& fields) const {
    const bool is_public = match.route != nullptr && match.route->is_public;
    if (auto refusal = context.access.refusal(request, is_public)) {
      if (refusal->status == 401) fields.emplace_back("WWW-Authenticate", Access::challenge(request));
      return refusal;
    }
    if (!is_known_method(request.method)) return ApiError{501, "method: expected one that HTTP has, got another"};
    if (request.method == "OPTIONS" && (!match.allow.empty() || request.path == "*")) {
      fields.emplace_back("Allow", match.allow.empty() ? "GET, HEAD, POST, OPTIONS" : match.allow);
      return ApiError{204, ""};
    }
    if (match.allow.empty()) return ApiError{404, "path: expected one of this server's, got another", "", "not_found"};
    if (match.route == nullptr) {
      fields.emplace_back("Allow", match.allow);
      return ApiError{405, "method: expected " + match.allow + ", got another", "", "method_not_allowed"};
    }
    if (context.is_draining && request.method == "POST") {
      return ApiError{503, "server: expected to take new work, but it is about to stop", "", "draining"};
    }
    return {};
  }

  /// Lets the client read the last reply before the connection closes, although it may still be sending: closing with
  /// bytes unread would reset the connection, and the reply would be lost.
  asio::awaitable<void> linger() {
    constexpr auto kLongest = std::chrono::seconds(1);
    if (self.is_gone()) co_return;
    self.socket_->shutdown_write();
    const auto deadline = Clock::now() + kLongest;
    bool in_time = true;
    while (in_time && !self.is_gone()) {
      self.in_.clear();
      self.read_ahead();
      in_time = co_await wait(deadline);
    }
  }

  asio::awaitable<void> run() {
    bool goes_on = co_await handshake();
    for (std::size_t served = 0; goes_on; ++served) {
      goes_on = co_await serve_one(served == 0, served + 1 >= limits.requests_per_connection);
    }
    co_await linger();
    self.drop();
  }
};

void Connection::start(asio::io_context& io, std::unique_ptr<Socket> socket, std::string client, HttpContext& context) {
  const auto self = std::make_shared<Connection>(io, std::move(socket), std::move(client), context);
  const auto protocol = std::make_shared<Protocol>(Protocol{*self});
  asio::co_spawn(io, protocol->run(), [self, protocol](const std::exception_ptr&) { self->drop(); });
}

Connection::Connection(asio::io_context& io, std::unique_ptr<Socket> socket, std::string client, HttpContext& context)
    : socket_(std::move(socket)),
      client_(std::move(client)),
      context_(context),
      sleep_(std::make_unique<Sleep>(Sleep{asio::steady_timer(io)})) {
  std::list<Connection*> place = {this}, turn = {this};  // all that may fail comes first
  if (!client_.empty()) ++context_.per_address[client_];
  place_ = place.begin();
  context_.connections.splice(context_.connections.end(), place);
  turn_ = turn.begin();
  context_.waiting.splice(context_.waiting.end(), turn);
  context_.metrics.connections = static_cast<std::int64_t>(context_.connections.size());
}

Connection::~Connection() {
  context_.connections.erase(place_);
  context_.waiting.erase(turn_);
  if (!client_.empty() && --context_.per_address[client_] == 0) context_.per_address.erase(client_);
  context_.metrics.connections = static_cast<std::int64_t>(context_.connections.size());
}

void Connection::notify() {
  is_notified_ = true;
  sleep_->timer.cancel();
}

void Connection::drop() {
  if (std::exchange(is_closed_, true)) return;
  if (!exchange_) to_the_end_of_waiting();  // has had its turn
  socket_->close();
  notify();
}

void Connection::to_the_end_of_waiting() { context_.waiting.splice(context_.waiting.end(), context_.waiting, turn_); }

void Connection::cut_short() {
  if (exchange_) exchange_->cut_short({503, "server: expected to finish the reply, but it is about to stop"});
}

/// Keeps a read pending, unless the client is far ahead.
void Connection::read_ahead() {
  if (is_reading_ || is_gone() || in_.size() >= kMostAhead) return;
  is_reading_ = true;
  socket_->read_some(piece_.data(), piece_.size(), [self = shared_from_this()](std::size_t bytes) {
    self->is_reading_ = false;
    self->is_at_end_ = bytes == 0;
    self->in_.append(self->piece_.data(), bytes);
    self->notify();
  });
}

void Connection::log(const HttpExchange& exchange, Clock::time_point start, bool is_whole) const {
  const HttpRequest& request = exchange.request();
  context_.metrics.answered(exchange.status());
  if (!is_whole) ++context_.metrics.streams_aborted;
  context_.log.write({.id = request.request_id,
                      .trace = trace_id(request.headers),
                      .client = client_.empty() ? "-" : client_,
                      .method = request.method.empty() ? "-" : request.method,
                      .path = request.path.empty() ? "-" : request.path,
                      .status = exchange.status(),
                      .seconds = std::chrono::duration<double>(Clock::now() - start).count(),
                      .bytes = exchange.body_bytes(),
                      .is_whole = is_whole,
                      .tokens = exchange.tokens});
}

}  // namespace kl
