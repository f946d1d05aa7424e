#pragma once
#include <string>
#include <vector>

#include "kl/engine.h"
#include "kl/model.h"
#include "server/server.h"

namespace CLI {
class App;
}

namespace kl::cli {

/// What `kl serve` is told.
struct ServeFlags {
  std::string dir;
  ModelOptions model;
  EngineOptions engine;
  ServerOptions server;
  std::vector<std::string> api_key_files;
  std::string chat_template;  ///< "builtin", a file, or empty: the model's own
};

/// -m, -t, all flags of the engine, of HTTP and its limits.  Each is also read from the environment, as KL_ and its name in
/// capitals: --max-queue is KL_MAX_QUEUE.
void define_serve_flags(CLI::App& command, ServeFlags& flags);

}  // namespace kl::cli
