#include "server/health.h"

#include <utility>

#include "server/exchange/api_error.h"

namespace kl {

bool Health::is_silent_for(std::chrono::milliseconds limit, const EngineStats& stats) {
  const Clock::time_point now = Clock::now();
  const std::lock_guard lock(mutex_);
  if (now - std::exchange(asked_, now) > kGap) steady_since_ = now;
  return now - stats.last_progress > limit && now - steady_since_ >= kSteady;
}

std::string Health::problem() {
  const EngineStats stats = look_();
  if (!stats.healthy) return "engine: expected it to run, but it has failed";
  if (is_silent_for(limits_.stalled, stats)) return "engine: expected it to make progress, but it hangs";
  return {};
}

bool Health::is_lost() {
  const EngineStats stats = look_();
  return !stats.healthy || is_silent_for(limits_.lost, stats);
}

std::vector<Route> health_routes(Health& health, const Metrics& metrics, std::function<bool()> is_draining) {
  const auto reply_ok = [](Exchange& exchange) { exchange.reply(200, "application/json", R"({"status":"ok"})"); };
  const Endpoint live = [reply_ok](const std::shared_ptr<Exchange>& exchange) { reply_ok(*exchange); };
  const Endpoint ready = [reply_ok, &health, is_draining](const std::shared_ptr<Exchange>& exchange) {
    std::string problem = health.problem();
    if (is_draining()) problem = "server: expected to take new work, but it is about to stop";
    if (problem.empty()) return reply_ok(*exchange);
    reply_error(*exchange, {503, problem, "", is_draining() ? "draining" : "engine_failed"});
  };
  const Endpoint show = [&health, &metrics, is_draining](const std::shared_ptr<Exchange>& exchange) {
    const bool is_ready = !is_draining() && health.problem().empty();
    exchange->reply(200, "text/plain; version=0.0.4; charset=utf-8", metrics.text(health.stats(), is_ready));
  };
  return {{"GET", "/livez", live, 0, true},
          {"GET", "/readyz", ready, 0, true},
          {"GET", "/health", ready, 0, true},
          {"GET", "/metrics", show}};
}

}  // namespace kl
