#include "server/http/http_exchange.h"

#include <fmt/format.h>

#include <iterator>
#include <new>
#include <utility>

#include "server/http/response_head.h"

namespace kl {

HttpExchange::HttpExchange(HttpRequest request, Form form, HttpContext& context, std::function<void()> wake,
                           BodyCharge charge)
    : request_(std::move(request)),
      charge_(std::move(charge)),
      form_(std::move(form)),
      context_(context),
      wake_(std::move(wake)) {}

void HttpExchange::reply(int status, std::string content_type, std::string body, Headers extra) {
  if (!is_open_ || status_ != 0) return;
  status_ = status;
  form_.close |= context_.is_draining;
  if (form_.is_http_1_0 && !form_.close) form_.fields.emplace_back("Connection", "keep-alive");
  ResponseHead head{status, std::move(content_type), {}, false, form_.close, form_.fields};
  constexpr int kNoContent = 204, kNotModified = 304;
  if (status != kNoContent && status != kNotModified) head.content_length = body.size();
  head.fields.insert(head.fields.end(), std::make_move_iterator(extra.begin()), std::make_move_iterator(extra.end()));
  queue_ = response_head(head);
  if (!form_.is_head && head.content_length) {
    queue_ += body;
    body_bytes_ = body.size();
  }
  has_ended_ = true;
  wake_();
}

void HttpExchange::begin_stream(std::string content_type, Headers extra) {
  if (!is_open_ || status_ != 0) return;
  status_ = 200;
  is_chunked_ = !form_.is_http_1_0;
  is_event_stream_ = content_type.starts_with("text/event-stream");
  form_.close |= !is_chunked_ || context_.is_draining;
  ResponseHead head{status_, std::move(content_type), {}, is_chunked_, form_.close, form_.fields};
  head.fields.insert(head.fields.end(), std::make_move_iterator(extra.begin()), std::make_move_iterator(extra.end()));
  queue_ = response_head(head);
  wake_();
}

void HttpExchange::write(std::string bytes) {
  if (!is_open_ || status_ == 0 || has_ended_ || bytes.empty() || form_.is_head) return;
  body_bytes_ += bytes.size();
  if (is_chunked_) {
    fmt::format_to(std::back_inserter(queue_), "{:x}\r\n", bytes.size());
    queue_ += bytes;
    queue_ += "\r\n";
  } else {
    queue_ += bytes;
  }
  wake_();
}

void HttpExchange::end() {
  if (!is_open_ || status_ == 0 || has_ended_) return;
  has_ended_ = true;
  if (is_chunked_ && !form_.is_head) queue_ += "0\r\n\r\n";
  wake_();
}

std::string HttpExchange::take_queue() {
  in_flight_ = queue_.size();
  return std::exchange(queue_, {});
}

void HttpExchange::sent() {
  const bool was_full = is_full();
  in_flight_ = 0;
  if (was_full && !is_full() && on_drained && is_open_ && !has_ended_) guard(std::function(on_drained));
}

void HttpExchange::finish() {
  is_open_ = false;
  on_drained = nullptr;  // they may hold this object
  on_closed = nullptr;
}

void HttpExchange::lose_client() {
  const auto closed = has_ended_ ? nullptr : std::exchange(on_closed, nullptr);
  finish();
  if (closed) guard(closed);
}

void HttpExchange::cut_short(const ApiError& why) {
  if (!is_open_ || has_ended_) return;
  form_.close = true;
  if (status_ == 0) {
    reply_error(*this, why);
  } else {
    if (is_event_stream_) write("data: " + error_body(why) + "\n\n");
    end();
  }
  if (const auto closed = std::exchange(on_closed, nullptr)) guard(closed);
}

void HttpExchange::guard(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    if (status_ == 0) return reply_error(*this, to_api_error(error));
    cut_short({500, "server: expected to go on, got an internal error"});
  } catch (const std::bad_alloc&) {
    cut_short({503, "memory: expected enough for this request, got none"});
  } catch (const std::exception&) {
    cut_short({500, "server: expected to answer, got an internal error"});
  }
}

}  // namespace kl
