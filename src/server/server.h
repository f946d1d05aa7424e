#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "kl/chat_template.h"
#include "kl/engine.h"
#include "server/api/context.h"
#include "server/health.h"
#include "server/http/http_server.h"

namespace kl {

struct ServerOptions {
  HttpOptions http;
  ApiOptions api;
  Health::Limits health;
  std::chrono::milliseconds grace{30'000};  ///< for replies in the making when the server stops
};

/// How a server's run ended.
enum class ServerEnd : std::uint8_t {
  kDrained,     ///< everything was answered
  kCutShort,    ///< what was not answered in time ended with an error
  kEngineLost,  ///< the engine failed or hangs; its destructor may hang too
};

/// A model behind HTTP: the routes, and the order in which things start and stop.
class Server {
 public:
  /// Binds.  Throws what HttpServer throws.  What is passed by reference must outlive the server.
  Server(Engine& engine, const ChatTemplate& chat_template, const ServerOptions& options, RequestLog::Sink log);
  ~Server();

  std::string url() const;
  bool is_reachable_by_others() const;

  /// Serves until `stop` becomes true, then stops in good order: /readyz says 503, new work is refused, replies in the
  /// making have `grace` to end.  Returns early if the engine is lost.
  ServerEnd run(const std::atomic<bool>& stop);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kl
