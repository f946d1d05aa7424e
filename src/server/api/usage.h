#pragma once
#include <chrono>
#include <cstdint>

#include "kl/engine.h"
#include "server/api/json.h"

namespace kl {

/// What one text cost, counted as its events come.
class Tally {
 public:
  void take(const EngineEvent& event);

  TokenCounts tokens;
  CacheMiss miss = CacheMiss::kNone;

  /// llama.cpp's `timings`: the engine's own once the text is over, until then those of the events' arrival.
  OrderedJson timings() const;

  /// llama.cpp's `prompt_progress`, after an event of kind kPrompt.
  OrderedJson progress() const;

 private:
  using Clock = std::chrono::steady_clock;
  std::int64_t prompt_done_ = 0;
  Clock::time_point started_ = Clock::now();
  Clock::time_point read_ = started_;  // when the prompt had been read
  double prompt_seconds_ = 0, decode_seconds_ = 0;
};

/// "cold", "diverged", ...: why not more of a prompt came from the cache; null if all did that could.
OrderedJson miss_reason(CacheMiss miss);

/// OpenAI's `usage`; our own member cache_miss_reason says why not more was cached.
OrderedJson openai_usage(const TokenCounts& tokens, CacheMiss miss);

}  // namespace kl
