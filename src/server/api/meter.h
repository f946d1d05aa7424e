#pragma once
#include <chrono>
#include <cstddef>
#include <vector>

#include "kl/engine.h"
#include "server/exchange.h"
#include "server/metrics.h"

namespace kl {

/// Tells the metrics what the texts of one engine request cost, as its events come, and counts tokens for the log.
class Meter {
 public:
  /// `metrics` may be none.
  Meter(Metrics* metrics, std::size_t texts) : metrics_(metrics), texts_(texts) {}

  void take(const EngineEvent& event);

  /// Text `index` has ended, by a stop string that the engine does not know of.
  void stop(int index);

  /// Nobody listens any more: texts that are not over count as aborted.
  void close();

  const TokenCounts& tokens() const { return tokens_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Text {
    bool is_over = false;
    std::int64_t tokens = 0;
    Clock::time_point last;  ///< when its last token came
  };

  void count_tokens(Text& text, std::size_t tokens);
  void finish(Text& text, FinishedText finished);

  Metrics* metrics_;
  const Clock::time_point start_ = Clock::now();
  std::vector<Text> texts_;
  TokenCounts tokens_;
};

}  // namespace kl
