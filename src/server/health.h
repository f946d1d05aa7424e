#pragma once
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "kl/engine.h"
#include "server/metrics.h"
#include "server/route.h"

namespace kl {

/// Whether the server can do its work, judged by what the engine does rather than by the fact that somebody answers.
///
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
  std::string problem() const;

  bool is_lost() const;  ///< the engine has died, or hangs for good

 private:
  std::function<EngineStats()> look_;
  Limits limits_;
};

/// GET /livez: the process answers.  GET /readyz, /health: it is not about to stop, and the engine makes progress; else 503.
/// GET /metrics.  All but the last are public.  The arguments must outlive the routes.
std::vector<Route> health_routes(const Health& health, const Metrics& metrics, std::function<bool()> is_draining);

}  // namespace kl
