#include "server/api/reply.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace kl {

Answer answer_with(const OrderedJson& body) {
  return [text = to_text(body)](const std::shared_ptr<Exchange>& exchange) {
    exchange->reply(200, "application/json", text);
  };
}

void Reply::start(std::vector<EngineRequest> requests) {
  for (EngineRequest& request : requests) submit(std::move(request));
  // From here on the exchange keeps the reply alive, until finish().
  exchange_->on_drained = [self = shared_from_this()] { self->pump(); };
  exchange_->on_closed = [self = shared_from_this()] { self->finish(); };
  if (stream_) {
    exchange_->begin_stream("text/event-stream", {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}});
    on_begin();
  }
  pump();
}

void Reply::submit(EngineRequest request) {
  const auto texts = static_cast<std::size_t>(request.n);
  auto notify = [line = line_, self = weak_from_this()] {
    const std::lock_guard lock(line->mutex);
    if (!line->exchange) return;
    line->exchange->post([self] {
      if (const std::shared_ptr<Reply> reply = self.lock()) reply->pump();
    });
  };
  sources_.push_back({context_.backend->submit(std::move(request), std::move(notify)), std::vector<bool>(texts),
                      Meter(context_.options.metrics, texts)});
}

void Reply::pump() {
  const std::shared_ptr<Reply> self = shared_from_this();
  try {
    for (bool moved = true; moved && !finished_;) {
      moved = false;
      for (std::size_t prompt = 0; prompt < sources_.size() && !finished_; ++prompt) {
        EngineEvent event;
        if (!sources_[prompt].generation) continue;
        if (exchange_->is_full()) return;
        if (!sources_[prompt].generation->poll(event)) continue;
        moved = true;
        take(prompt, event);
      }
    }
  } catch (...) {
    fail(current_api_error());
  }
}

void Reply::take(std::size_t prompt, const EngineEvent& event) {
  Source& source = sources_[prompt];
  const auto index = static_cast<std::size_t>(event.index);
  source.meter.take(event);
  if (event.kind == EngineEvent::Kind::kFailed) return fail(to_api_error(Error(event.error, event.message)));
  if (source.is_over.at(index)) return;  // it was over before the engine knew
  if (event.kind == EngineEvent::Kind::kFinished && event.reason == FinishReason::kCancelled) {
    return fail({.status = 503, .message = "the server is stopping", .code = "cancelled"});
  }
  const bool over = on_event(prompt, event);
  source.is_over[index] = over || event.kind == EngineEvent::Kind::kFinished;
  if (over && event.kind != EngineEvent::Kind::kFinished) source.meter.stop(event.index);
  if (std::find(source.is_over.begin(), source.is_over.end(), false) == source.is_over.end()) source.generation.reset();
  if (!all_over()) return;
  on_over();
  if (stream_) exchange_->end();
  finish();
}

void Reply::fail(const ApiError& error) {
  if (finished_) return;
  if (stream_) {
    on_error(error);
    exchange_->end();
  } else {
    reply_error(*exchange_, error, schema_);
  }
  finish();
}

void Reply::on_error(const ApiError& error) {
  exchange_->write(fmt::format("data: {}\n\n", error_body(error, schema_)));
}

/// Drops the generations, which stops them, says what they cost, and lets go of the exchange.
void Reply::finish() {
  if (finished_) return;
  const std::shared_ptr<Reply> self = shared_from_this();  // the exchange's callbacks may be the last to hold it
  finished_ = true;
  hang_up();
  TokenCounts total;
  for (Source& source : sources_) {
    source.meter.close();
    total.prompt += source.meter.tokens().prompt;
    total.cached += source.meter.tokens().cached;
    total.generated += source.meter.tokens().generated;
  }
  exchange_->tokens = total;
  sources_.clear();
  exchange_->on_drained = nullptr;
  exchange_->on_closed = nullptr;
}

void Reply::hang_up() {
  const std::lock_guard lock(line_->mutex);
  line_->exchange = nullptr;
}

bool Reply::all_over() const {
  return std::all_of(sources_.begin(), sources_.end(), [](const Source& source) { return !source.generation; });
}

void Reply::send(const OrderedJson& data, std::string_view event) {
  exchange_->write(event.empty() ? fmt::format("data: {}\n\n", to_text(data))
                                 : fmt::format("event: {}\ndata: {}\n\n", event, to_text(data)));
}

void Reply::send_done() { exchange_->write("data: [DONE]\n\n"); }

void Reply::reply(const OrderedJson& body) { exchange_->reply(200, "application/json", to_text(body)); }

}  // namespace kl
