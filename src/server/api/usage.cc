#include "server/api/usage.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace kl {
namespace {

double seconds(std::chrono::steady_clock::duration time) { return std::chrono::duration<double>(time).count(); }

double per(double amount, double of) { return of > 0 ? amount / of : 0; }

}  // namespace

void Tally::take(const EngineEvent& event) {
  if (event.kind == EngineEvent::Kind::kPrompt) {
    prompt_tokens = event.prompt_tokens;
    cached_tokens = event.cached_tokens;
    miss = event.miss;
    prompt_done_ = event.prompt_done;
    read_ = Clock::now();
    prompt_seconds_ = seconds(read_ - started_);
    return;
  }
  completion_tokens += static_cast<std::int64_t>(event.ids.size());
  decode_seconds_ = seconds(Clock::now() - read_);
  if (event.kind != EngineEvent::Kind::kFinished) return;
  completion_tokens = event.completion_tokens;
  drafted_tokens = event.drafted_tokens;
  accepted_tokens = event.accepted_tokens;
  prompt_seconds_ = event.prompt_seconds;
  decode_seconds_ = event.decode_seconds;
}

OrderedJson Tally::timings() const {
  const auto read = static_cast<double>(prompt_tokens - cached_tokens);
  // The first token comes from the prompt's last logits: it costs no step.
  const auto drawn = static_cast<double>(std::max<std::int64_t>(completion_tokens - 1, 0));
  OrderedJson timings = {{"cache_n", cached_tokens},
                         {"prompt_n", prompt_tokens - cached_tokens},
                         {"prompt_ms", prompt_seconds_ * 1e3},
                         {"prompt_per_token_ms", per(prompt_seconds_ * 1e3, read)},
                         {"prompt_per_second", per(read, prompt_seconds_)},
                         {"predicted_n", completion_tokens},
                         {"predicted_ms", decode_seconds_ * 1e3},
                         {"predicted_per_token_ms", per(decode_seconds_ * 1e3, drawn)},
                         {"predicted_per_second", per(drawn, decode_seconds_)}};
  if (drafted_tokens > 0) {
    timings["draft_n"] = drafted_tokens;
    timings["draft_n_accepted"] = accepted_tokens;
  }
  return timings;
}

OrderedJson Tally::progress() const {
  return {{"total", prompt_tokens},
          {"cache", cached_tokens},
          {"processed", prompt_done_},
          {"time_ms", static_cast<std::int64_t>(prompt_seconds_ * 1e3)}};
}

OrderedJson miss_reason(CacheMiss miss) {
  switch (miss) {
    case CacheMiss::kNone:
      return nullptr;
    case CacheMiss::kCold:
      return "cold";
    case CacheMiss::kDiverged:
      return "diverged";
    case CacheMiss::kNotKept:
      return "not_kept";
    case CacheMiss::kEvicted:
      return "evicted";
    case CacheMiss::kScored:
      return "scored";
    case CacheMiss::kNotAsked:
      return "not_asked";
  }
  return nullptr;
}

OrderedJson openai_usage(std::int64_t prompt_tokens, std::int64_t cached_tokens, CacheMiss miss,
                         std::int64_t completion_tokens) {
  return {{"prompt_tokens", prompt_tokens},
          {"completion_tokens", completion_tokens},
          {"total_tokens", prompt_tokens + completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", cached_tokens}, {"cache_miss_reason", miss_reason(miss)}}},
          {"completion_tokens_details", {{"reasoning_tokens", 0}}}};
}

}  // namespace kl
