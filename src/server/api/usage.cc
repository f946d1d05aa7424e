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
    tokens.prompt = event.tokens.prompt;
    tokens.cached = event.tokens.cached;
    miss = event.miss;
    prompt_done_ = event.prompt_done;
    read_ = Clock::now();
    prompt_seconds_ = seconds(read_ - started_);
    return;
  }
  tokens.generated += static_cast<std::int64_t>(event.ids.size());
  decode_seconds_ = seconds(Clock::now() - read_);
  if (event.kind != EngineEvent::Kind::kFinished) return;
  tokens.generated = event.tokens.generated;
  tokens.drafted = event.tokens.drafted;
  tokens.accepted = event.tokens.accepted;
  prompt_seconds_ = event.prompt_seconds;
  decode_seconds_ = event.decode_seconds;
}

OrderedJson Tally::timings() const {
  const auto read = static_cast<double>(tokens.prompt - tokens.cached);
  // The first token comes from the prompt's last logits: it costs no step.
  const auto drawn = static_cast<double>(std::max<std::int64_t>(tokens.generated - 1, 0));
  OrderedJson timings = {{"cache_n", tokens.cached},
                         {"prompt_n", tokens.prompt - tokens.cached},
                         {"prompt_ms", prompt_seconds_ * 1e3},
                         {"prompt_per_token_ms", per(prompt_seconds_ * 1e3, read)},
                         {"prompt_per_second", per(read, prompt_seconds_)},
                         {"predicted_n", tokens.generated},
                         {"predicted_ms", decode_seconds_ * 1e3},
                         {"predicted_per_token_ms", per(decode_seconds_ * 1e3, drawn)},
                         {"predicted_per_second", per(drawn, decode_seconds_)}};
  if (tokens.drafted > 0) {
    timings["draft_n"] = tokens.drafted;
    timings["draft_n_accepted"] = tokens.accepted;
  }
  return timings;
}

OrderedJson Tally::progress() const {
  return {{"total", tokens.prompt},
          {"cache", tokens.cached},
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

OrderedJson openai_usage(const TokenCounts& tokens, CacheMiss miss) {
  return {{"prompt_tokens", tokens.prompt},
          {"completion_tokens", tokens.generated},
          {"total_tokens", tokens.prompt + tokens.generated},
          {"prompt_tokens_details", {{"cached_tokens", tokens.cached}, {"cache_miss_reason", miss_reason(miss)}}},
          {"completion_tokens_details", {{"reasoning_tokens", 0}}}};
}

}  // namespace kl
