// kl serve: the model behind HTTP.
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <thread>

#include "base/memory_info.h"
#include "base/read_file.h"
#include "cli/exit_status.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/loaded_model.h"
#include "cli/notice.h"
#include "cli/output.h"
#include "cli/serve_flags.h"
#include "kl/chat_template.h"
#include "kl/error.h"

namespace kl::cli {
namespace {

/// The keys in a file: one a line, empty lines and those that begin with # left out.
std::vector<std::string> keys_in(const std::string& path) {
  constexpr std::size_t kMostBytes = 1 << 20;
  std::istringstream lines(read_file(path, kMostBytes));
  std::vector<std::string> keys;
  for (std::string line; std::getline(lines, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty() && !line.starts_with('#')) keys.push_back(line);
  }
  if (keys.empty()) throw Error(ErrorCode::kCorrupt, path + ": expected an API key on a line, got none");
  return keys;
}

/// Every connection is a descriptor.  Takes as many as the system gives, and fewer connections if those are too few.
void raise_descriptor_limit(std::size_t& connections) {
  constexpr std::size_t kOthers = 64;  // the model's files, the log, what listens
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = std::min<rlim_t>(limit.rlim_max, connections + kOthers);
  if (limit.rlim_cur < wanted) {
    limit.rlim_cur = wanted;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  const std::size_t room = limit.rlim_cur > kOthers ? limit.rlim_cur - kOthers : 1;
  if (room >= connections) return;
  notice(fmt::format("kl: --max-connections: {} descriptors are allowed (ulimit -n), so {} instead of {}\n",
                     limit.rlim_cur, room, connections));
  connections = room;
}

[[noreturn]] void give_up_on_engine() {
  notice("kl: engine: expected it to make progress, but it has failed or hangs\n");
  std::_Exit(kExitFailure);  // destroying what hangs would hang
}

/// Gives up if the program has not ended in `time`: an engine may begin to hang when nothing is left to do but to end it.
void give_up_unless_ended_in(std::chrono::milliseconds time) {
  std::thread([time] {
    std::this_thread::sleep_for(time);
    give_up_on_engine();
  }).detach();
}

int run_serve(const ServeFlags& given) {
  ServeFlags flags = given;
  AccessRules& access = flags.server.http.access;
  for (const std::string& file : flags.api_key_files) {
    const std::vector<std::string> keys = keys_in(file);
    access.api_keys.insert(access.api_keys.end(), keys.begin(), keys.end());
  }
  const std::filesystem::path& sessions = flags.server.api.slot_save_path;
  if (!sessions.empty() && !std::filesystem::is_directory(sessions))
    throw Error(ErrorCode::kNotFound, sessions.string() + ": expected a folder (--slot-save-path), got none");
  raise_descriptor_limit(flags.server.http.limits.connections);
  const std::atomic<bool>& stop = catch_interrupts();
  catch_termination();

  const auto admit = [&flags](const Tokenizer&, const ModelArgs& args, const MemoryPlan& plan) {
    resolve(flags.engine, args, plan, available_bytes());  // throws what the engine would, before weights are read
  };
  LoadedModel loaded = LoadedModel::open(flags.dir, flags.model, admit);
  const std::string description = loaded.description();
  Engine engine(std::move(loaded.model), loaded.tokenizer, flags.engine);
  ApiOptions& api = flags.server.api;
  api.model_path = loaded.dir.string();
  if (api.model_name.empty()) api.model_name = std::filesystem::canonical(loaded.dir).filename().string();
  const ChatTemplate chat_template = ChatTemplate::open(loaded.dir, flags.chat_template);
  Server server(engine, chat_template, flags.server, RequestLog::to_descriptor(STDERR_FILENO));
  if (server.is_reachable_by_others() && access.api_keys.empty()) {
    notice("kl: warning: anybody who reaches this address may use the server; --api-key asks for a key\n");
  }
  Output output;
  output.write(fmt::format("{} serves {} ({}, {} at once)\n", server.url(), api.model_name, description,
                           engine.options().parallel));
  output.flush();
  switch (server.run(stop)) {
    case ServerEnd::kDrained:
    case ServerEnd::kCutShort:
      break;
    case ServerEnd::kEngineLost:
      give_up_on_engine();
  }
  give_up_unless_ended_in(flags.server.health.lost);
  return kExitOk;
}

}  // namespace

void add_serve(CLI::App& app, Action& action) {
  add_command<ServeFlags>(app, action, "serve", "Serve a model over HTTP", "  kl serve -m DIR --port 8080 --parallel 8",
                          define_serve_flags, run_serve);
}

}  // namespace kl::cli
