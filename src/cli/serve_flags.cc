#include "cli/serve_flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>

#include "cli/flags.h"

namespace kl::cli {
namespace {

void define_engine(CLI::App& command, EngineOptions& engine) {
  constexpr int kMostSlots = 1024, kMostWaiting = 1'000'000;
  add_number(command, "--parallel", engine.parallel, 1, kMostSlots, "texts in the making at once; also -np");
  add_ctx_flag(command, engine.ctx_size, "-c,--ctx-size",
               "most tokens of one text, prompt included; 0 = what the model was trained for");
  add_cache_bytes_flag(command, engine.cache_bytes);
  add_number(command, "--max-queue", engine.max_queue, 0, kMostWaiting, "requests that may wait; more get 429");
  add_speculate_flag(command, engine.speculate);
}

void define_http(CLI::App& command, ServeFlags& flags) {
  HttpOptions& http = flags.server.http;
  constexpr std::uint16_t kMostPort = 65535;
  add_text(command, "--host", http.host, "HOST", "address to listen at, or the path of a Unix socket")
      ->default_str(http.host);
  add_number(command, "--port", http.port, 0, kMostPort, "0 = any that is free");
  add_texts(command, "--api-key", http.access.api_keys, "KEY", "ask for this key; may be repeated");
  add_texts(command, "--api-key-file", flags.api_key_files, "FILE", "the same, one key a line");
  add_text(command, "--ssl-key-file", http.key_file, "FILE", "private key in PEM: speak TLS");
  add_text(command, "--ssl-cert-file", http.cert_file, "FILE",
           "its certificate in PEM, and those between it and the root");
  add_texts(command, "--cors-origin", http.access.cors_origins, "ORIGIN",
            "pages of this origin may ask, such as https://example.org, or *; may be repeated");
  add_texts(command, "--allowed-hosts", http.access.hosts, "NAME",
            "names by which clients may call this server; may be repeated");
  add_choice(command, "--log-format", http.log_format, {{"text", LogFormat::kText}, {"json", LogFormat::kJson}},
             "FORMAT", "of the line each request gets on standard error: text or json");
  add_seconds(command, "--grace", flags.server.grace, "for replies in the making when the server stops");
  add_seconds(command, "--stall-timeout", flags.server.health.stalled, "without a step: /readyz says 503");
  add_seconds(command, "--lost-timeout", flags.server.health.lost, "without a step: the program ends with status 1");
}

void define_api(CLI::App& command, ServeFlags& flags) {
  ApiOptions& api = flags.server.api;
  add_text(command, "--alias", api.model_name, "NAME", "what the model is called (default: its folder's name)");
  add_chat_template_flag(command, flags.chat_template);
  add_text(command, "--slot-save-path", api.slot_save_path, "DIR",
           "clients may save and restore sessions in this folder");
  command.add_flag_callback(
      "--no-slots", [&api] { api.slots = false; }, "do not answer GET /slots");
  command.add_flag("--strict", api.strict, "refuse fields nobody knows, and names of other models");
  add_seconds(command, "--request-timeout", api.time_limit, "for one request's texts; then they end (default: any)");
  add_bytes(command, "--max-body-bytes", api.max_chat_body, "16M", "of a request with a prompt; more gets 413");
  add_bytes(command, "--max-other-body-bytes", api.max_other_body, "64K", "of any other; more gets 413");
}

void define_limits(CLI::App& command, HttpLimits& limits) {
  constexpr std::size_t kMost = 1'000'000;
  add_bytes(command, "--max-head-bytes", limits.head_bytes, "16K", "of a request's line and fields; more gets 431");
  add_number(command, "--max-head-fields", limits.head_fields, 1, kMost, "fields of a request; more get 431");
  add_bytes(command, "--max-target-bytes", limits.target_bytes, "8K", "of path and query; more gets 414");
  add_bytes(command, "--max-bodies-bytes", limits.bodies_bytes, "512M", "of all requests' bodies; more get 503");
  add_bytes(command, "--stream-buffer-bytes", limits.queued_bytes, "256K", "that wait for a slow reader");
  add_number(command, "--max-connections", limits.connections, 1, kMost, "one more pushes out the idlest");
  add_number(command, "--max-connections-per-address", limits.connections_per_address, 0, kMost,
             "more get 429; 0 = any number");
  add_number(command, "--max-requests-per-connection", limits.requests_per_connection, 1, kMost, "then it closes");
  add_seconds(command, "--head-timeout", limits.head_timeout, "for a request's line and fields to come");
  add_seconds(command, "--body-timeout", limits.body_timeout, "for a request's body to come");
  add_seconds(command, "--idle-timeout", limits.idle_timeout, "between the requests of a connection");
  add_seconds(command, "--write-timeout", limits.write_timeout, "for a client to take something of its reply");
  add_seconds(command, "--keepalive", limits.keepalive, "of silence, then an event stream gets a comment");
}

/// KL_ and the flag's name in capitals, for every flag.
void read_environment(CLI::App& command) {
  for (CLI::Option* option : command.get_options()) {
    if (option->get_lnames().empty() || option->get_lnames().front() == "help") continue;
    std::string name = "KL_" + option->get_lnames().front();
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return c == '-' ? '_' : static_cast<char>(std::toupper(c)); });
    option->envname(name);
  }
}

}  // namespace

void define_serve_flags(CLI::App& command, ServeFlags& flags) {
  add_model_flag(command, flags.dir);
  define_http(command, flags);
  define_engine(command, flags.engine);
  define_api(command, flags);
  add_engine_flags(command, flags.model);
  define_limits(command, flags.server.http.limits);
  read_environment(command);
  command.footer(command.get_footer() +
                 "\n\nEvery flag is also read from the environment: --max-queue is KL_MAX_QUEUE.");
}

}  // namespace kl::cli
