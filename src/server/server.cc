#include "server/server.h"

#include <iterator>
#include <thread>
#include <utility>
#include <vector>

#include "kl/structured.h"
#include "server/api/api.h"
#include "server/page/page.h"

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
  Impl(Engine& engine, const ChatTemplate& chat_template, const ServerOptions& o, RequestLog::Sink log)
      : options(o),
        health([&engine] { return engine.stats(); }, o.health),
        grammars(engine.tokenizer()),
        api(make_backend(engine), engine.tokenizer(), chat_template, grammars, with_metrics(o.api)),
        http(o.http, routes(), metrics, std::move(log)) {}
  ~Impl() {
    http.stop();  // no endpoint runs from here on,
    api.stop();   // and no request is read; then exchanges go with `http`, and what they refer to after it
  }

  ApiOptions with_metrics(ApiOptions api_options) {
    api_options.metrics = &metrics;
    return api_options;
  }

  /// Everything this server answers.
  std::vector<Route> routes() {
    std::vector<Route> all = health_routes(health, metrics, [this] { return is_draining.load(); });
    for (std::vector<Route> more : {api.routes(), page_routes()}) {
      all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
    }
    return all;
  }

  const ServerOptions options;
  Metrics metrics;
  Health health;
  std::atomic<bool> is_draining{false};
  GrammarCompiler grammars;
  Api api;
  HttpServer http;  // last: its thread uses what stands above
};

Server::Server(Engine& engine, const ChatTemplate& chat_template, const ServerOptions& options, RequestLog::Sink log)
    : impl_(std::make_unique<Impl>(engine, chat_template, options, std::move(log))) {}
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
