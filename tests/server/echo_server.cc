// The HTTP server with endpoints that do nothing but what tests of HTTP need.  Prints its URL; ends with its standard
// input.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "server/http/http_server.h"
#include "tests/server/failing_new.h"

namespace {

using kl::Exchange;
using Pointer = std::shared_ptr<Exchange>;

std::string query(const Exchange& exchange, const std::string& name, const std::string& otherwise) {
  for (const auto& [key, value] : exchange.request().query) {
    if (key == name) return value;
  }
  return otherwise;
}

int number(const Exchange& exchange, const std::string& name, int otherwise) {
  return std::stoi(query(exchange, name, std::to_string(otherwise)));
}

/// What arrived: method, path, query, fields, body.
void echo(const Pointer& exchange) {
  const kl::HttpRequest& request = exchange->request();
  const nlohmann::json seen = {{"method", request.method},   {"path", request.path}, {"query", request.query},
                               {"headers", request.headers}, {"body", request.body}, {"id", request.request_id}};
  exchange->tokens = kl::TokenCounts{.prompt = 3, .cached = 2, .generated = 1};
  exchange->reply(200, "application/json", seen.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
                  {{"X-Echo", query(*exchange, "echo", "")}});
}

struct Counters {
  int closed = 0, streams = 0, most_queued = 0;  // I/O thread only
};
Counters counters;

/// ?n events of ?bytes each, as fast as the client reads, or every ?ms.
struct Stream : std::enable_shared_from_this<Stream> {
  Pointer exchange;
  int left, bytes, ms;

  void pump() {
    while (left > 0 && exchange->is_open() && !exchange->is_full()) {
      --left;
      exchange->write("data: " + std::string(static_cast<std::size_t>(bytes), 'x') + "\n\n");
      if (ms > 0) return later();
    }
    if (left == 0) exchange->end();
  }
  void later() {
    std::thread([self = shared_from_this()] {
      std::this_thread::sleep_for(std::chrono::milliseconds(self->ms));
      self->exchange->post([self] { self->pump(); });
    }).detach();
  }
};

void stream(const Pointer& exchange) {
  auto state = std::make_shared<Stream>();
  state->exchange = exchange;
  state->left = number(*exchange, "n", 3);
  state->bytes = number(*exchange, "bytes", 10);
  state->ms = number(*exchange, "ms", 0);
  ++counters.streams;
  exchange->on_drained = [state] { state->pump(); };
  exchange->on_closed = [] { ++counters.closed; };
  exchange->begin_stream("text/event-stream");
  if (state->ms > 0) return state->later();
  state->pump();
}

/// Answers after ?ms.
void slow(const Pointer& exchange) {
  exchange->on_closed = [] { ++counters.closed; };
  std::thread([exchange, ms = number(*exchange, "ms", 100)] {
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    exchange->post([exchange] { exchange->reply(200, "text/plain", "slow"); });
  }).detach();
}

void fail(const Pointer& exchange) {
  const std::string how = query(*exchange, "how", "");
  if (how == "argument") throw kl::Error(kl::ErrorCode::kInvalidArgument, "top_p: expected a number, got a secret");
  if (how == "busy") throw kl::Error(kl::ErrorCode::kBusy, "queue: expected room, got none");
  if (how == "memory") throw std::bad_alloc();
  if (how == "stream") {
    exchange->begin_stream("text/event-stream");
    exchange->write("data: 1\n\n");
  }
  throw std::runtime_error("secret internal path /etc/secret");
}

void count(const Pointer& exchange) {
  exchange->reply(200, "application/json",
                  nlohmann::json{{"closed", counters.closed},
                                 {"streams", counters.streams},
                                 {"next_large_fails", kl::next_large_allocation_fails.load()}}
                      .dump());
}

/// Limits by name from $ECHO_LIMITS, a JSON object; other options likewise from $ECHO_OPTIONS.
kl::HttpOptions options_from_environment() {
  const char* text = std::getenv("ECHO_OPTIONS");
  const nlohmann::json given = nlohmann::json::parse(text != nullptr ? text : "{}");
  kl::HttpOptions options;
  options.port = 0;
  options.host = given.value("host", options.host);
  options.key_file = given.value("key_file", "");
  options.cert_file = given.value("cert_file", "");
  options.access.api_keys = given.value("api_keys", std::vector<std::string>());
  options.access.cors_origins = given.value("cors_origins", std::vector<std::string>());
  options.access.hosts = given.value("hosts", std::vector<std::string>());
  kl::HttpLimits& limits = options.limits;
  limits.connections = given.value("connections", limits.connections);
  limits.connections_per_address = given.value("connections_per_address", limits.connections_per_address);
  limits.requests_per_connection = given.value("requests_per_connection", limits.requests_per_connection);
  limits.bodies_bytes = given.value("bodies_bytes", limits.bodies_bytes);
  const auto seconds = [&](const char* name, std::chrono::milliseconds& limit) {
    if (given.contains(name)) limit = std::chrono::milliseconds(static_cast<int>(given[name].get<double>() * 1000));
  };
  seconds("head_timeout", limits.head_timeout);
  seconds("body_timeout", limits.body_timeout);
  seconds("idle_timeout", limits.idle_timeout);
  seconds("write_timeout", limits.write_timeout);
  seconds("keepalive", limits.keepalive);
  if (given.value("json_log", false)) options.log_format = kl::LogFormat::kJson;
  return options;
}

}  // namespace

int main() {
  constexpr std::size_t kMostBody = 1 << 20;
  kl::Metrics metrics;
  std::vector<kl::Route> routes = {{"GET", "/echo", echo},
                                   {"POST", "/echo", echo, kMostBody},
                                   {"GET", "/item/{id}", echo},
                                   {"GET", "/rest/{path...}", echo},
                                   {"POST", "/stream", stream, kMostBody},
                                   {"POST", "/slow", slow, kMostBody},
                                   {"POST", "/fail", fail, kMostBody},
                                   {"GET", "/count", count},
                                   {"GET", "/livez", echo, 0, true}};
  try {
    kl::HttpServer server(options_from_environment(), std::move(routes), metrics,
                          kl::RequestLog::to_descriptor(STDERR_FILENO));
    server.start();
    std::printf("%s\n", server.url().c_str());
    std::fflush(stdout);
    for (int c = std::getchar(); c != EOF; c = std::getchar()) {
      if (c == 'd') server.drain();
      if (c == 'c') server.cut_short();
      if (c == 'm') kl::next_large_allocation_fails = true;  // a connection's, which has a buffer
    }
    server.stop();
  } catch (const kl::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  std::_Exit(0);  // threads of slow replies may still sleep
}
