#include "server/server.h"

#include <iterator>
#include <thread>
#include <utility>
#include <vector>

namespace kl {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kPoll = std::chrono::milliseconds(20);

/// Waits until `done` or `deadline`; false if it was the latter.
template <class Done>
bool wait_until(Clock::time_point deadline, Done done) {
  while (!done()) {
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

}  // namespace

struct Server::Impl {
  Impl(Engine& e, const ServerOptions& o, RequestLog::Sink log)
      : engine(e),
        options(o),
        health([this] { return engine.stats(); }, o.health),
        http(o.http, routes(), metrics, std::move(log)) {}

  /// Everything this server answers.
  std::vector<Route> routes() {
    return health_routes(health, metrics, [this] { return is_draining.load(); });
  }

  Engine& engine;
  const ServerOptions options;
  Metrics metrics;
  Health health;
  std::atomic<bool> is_draining{false};
  HttpServer http;  // last: its thread uses what stands above
};

Server::Server(Engine& engine, const ServerOptions& options, RequestLog::Sink log)
    : impl_(std::make_unique<Impl>(engine, options, std::move(log))) {}
Server::~Server() = default;

std::string Server::url() const { return impl_->http.url(); }
bool Server::is_reachable_by_others() const { return impl_->http.is_reachable_by_others(); }

ServerEnd Server::run(const std::atomic<bool>& stop) {
  constexpr auto kLastWords = std::chrono::seconds(1);
  HttpServer& http = impl_->http;
  http.start();
  const auto is_answered = [&] { return http.answering() == 0; };
  const auto is_lost = [this] { return impl_->health.is_lost(); };
  wait_until(Clock::time_point::max(), [&] { return stop.load() || is_lost(); });
  impl_->is_draining = true;
  http.drain();
  ServerEnd end = is_lost() ? ServerEnd::kEngineLost : ServerEnd::kDrained;
  if (end == ServerEnd::kDrained) {
    wait_until(Clock::now() + impl_->options.grace, [&] { return is_answered() || is_lost(); });
    if (!is_answered()) end = is_lost() ? ServerEnd::kEngineLost : ServerEnd::kCutShort;
  }
  if (end != ServerEnd::kDrained) {
    http.cut_short();
    wait_until(Clock::now() + kLastWords, is_answered);
  }
  http.stop();
  return end;
}

}  // namespace kl
