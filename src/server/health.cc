#include "server/health.h"

#include <utility>

#include "server/api_error.h"

namespace kl {
namespace {

std::chrono::steady_clock::duration silence(const EngineStats& stats) {
  return std::chrono::steady_clock::now() - stats.last_progress;
}

}  // namespace

std::string Health::problem() const {
  const EngineStats stats = look_();
  if (!stats.healthy) return "engine: expected it to run, but it has failed";
  if (silence(stats) > limits_.stalled) return "engine: expected it to make progress, but it hangs";
  return {};
}

bool Health::is_lost() const {
  const EngineStats stats = look_();
  return !stats.healthy || silence(stats) > limits_.lost;
}

std::vector<Route> health_routes(const Health& health, const Metrics& metrics, std::function<bool()> is_draining) {
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
