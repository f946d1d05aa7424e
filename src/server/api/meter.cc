#include "server/api/meter.h"

#include <utility>

namespace kl {
namespace {

double seconds(std::chrono::steady_clock::duration time) { return std::chrono::duration<double>(time).count(); }

/// As clients are told, but that a tool call is an end like others: the time a text may take is a limit of its length.
const char* name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
    case FinishReason::kTimeout:
      return "length";
    case FinishReason::kCancelled:
      break;
  }
  return "abort";
}

}  // namespace

void Meter::take(const EngineEvent& event) {
  Text& text = texts_.at(static_cast<std::size_t>(event.index));
  switch (event.kind) {
    case EngineEvent::Kind::kPrompt:
      tokens_.prompt = event.tokens.prompt;
      tokens_.cached = event.tokens.cached;
      return;
    case EngineEvent::Kind::kTokens:
      return count_tokens(text, event.ids.size());
    case EngineEvent::Kind::kFinished:
      count_tokens(text, event.ids.size());
      return finish(text, {.reason = name_of(event.reason),
                           .queue_seconds = event.queue_seconds,
                           .prompt_seconds = event.prompt_seconds,
                           .decode_seconds = event.decode_seconds});
    case EngineEvent::Kind::kFailed:
      for (Text& other : texts_) finish(other, {.reason = "error"});
      return;
  }
}

void Meter::stop(int index) { finish(texts_.at(static_cast<std::size_t>(index)), {.reason = "stop"}); }

void Meter::close() {
  for (Text& text : texts_) finish(text, {.reason = "abort"});
}

/// Tokens that come at once share the time since the last ones; the first of a text is a measure of its own.
void Meter::count_tokens(Text& text, std::size_t tokens) {
  if (tokens == 0) return;
  const Clock::time_point now = Clock::now();
  if (metrics_ != nullptr && text.tokens == 0) metrics_->first_token(seconds(now - start_));
  if (metrics_ != nullptr && text.tokens > 0) metrics_->more_tokens(seconds(now - text.last), tokens);
  text.tokens += static_cast<std::int64_t>(tokens);
  text.last = now;
  tokens_.generated += static_cast<std::int64_t>(tokens);
}

void Meter::finish(Text& text, FinishedText finished) {
  if (std::exchange(text.is_over, true) || metrics_ == nullptr) return;
  finished.tokens = tokens_;
  finished.tokens.generated = text.tokens;
  finished.seconds = seconds(Clock::now() - start_);
  metrics_->finished(finished);
}

}  // namespace kl
