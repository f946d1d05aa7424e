#pragma once
#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "kl/engine.h"
#include "server/exchange/metrics.h"
#include "server/exchange/route.h"

namespace kl {

/// Whether the server can do its work, judged by what the engine does rather than by the fact that somebody answers.
///
/// How       somebody asks often (Server::run does).  Where nobody has asked for a while the whole process stood still, and
///           the engine with it: its silence says something only once questions have come steadily for kSteady again.
/// Threads   any.
class Health {
 public:
  struct Limits {
    std::chrono::milliseconds stalled{4'000};  ///< without a step: not ready
    std::chrono::milliseconds lost{25'000};    ///< without a step: will not come back
  };

  /// `look` is asked each time, from any thread, and must not block.
  Health(std::function<EngineStats()> look, Limits limits) : look_(std::move(look)), limits_(limits) {}

  EngineStats stats() const { return look_(); }

  /// Why the engine does not make progress; empty: it does.
  std::string problem();

  bool is_lost();  ///< the engine has died, or hangs for good

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr auto kGap = std::chrono::milliseconds(500);      ///< between questions: the process stood still
  static constexpr auto kSteady = std::chrono::milliseconds(1000);  ///< without a gap: silence is the engine's own

  bool is_silent_for(std::chrono::milliseconds limit, const EngineStats& stats);

  const std::function<EngineStats()> look_;
  const Limits limits_;

  // Guarded by mutex_.
  std::mutex mutex_;
  Clock::time_point asked_, steady_since_;
};

/// GET /livez: the process answers.  GET /readyz, /health: it is not about to stop, and the engine makes progress; else 503.
/// GET /metrics.  All but the last are public.  The arguments must outlive the routes.
std::vector<Route> health_routes(Health& health, const Metrics& metrics, std::function<bool()> is_draining);

}  // namespace kl
