#include "cli/serve_flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>
#include <cmath>

#include "base/printable.h"
#include "cli/flags.h"

namespace kl::cli {
namespace {

constexpr double kDay = 86'400;

CLI::Option* add_bytes(CLI::App& command, const char* name, std::size_t& bytes, const char* shown, const char* what) {
  return command
      .add_option_function<std::string>(
          name, [&bytes](const std::string& text) { bytes = *parse_bytes(text); }, what)
      ->type_name("SIZE")
      ->default_str(shown)
      ->check(CLI::Validator(
          [](const std::string& text) {
            return parse_bytes(text)
                       ? std::string()
                       : fmt::format("expected bytes, such as 64K, 512M or 4G, got {}", printable(text, 60));
          },
          ""));
}

CLI::Option* add_seconds(CLI::App& command, const char* name, std::chrono::milliseconds& time, const char* what) {
  constexpr double kPerSecond = 1000;
  return command
      .add_option_function<std::string>(
          name,
          [&time](const std::string& text) {
            time = std::chrono::milliseconds(std::llround(std::stod(text) * kPerSecond));
          },
          what)
      ->type_name("SECONDS")
      ->default_str(time.count() == 0 ? "" : fmt::format("{}", static_cast<double>(time.count()) / kPerSecond))
      ->check(number_in(0.001, kDay));
}

CLI::Option* add_size(CLI::App& command, const char* name, std::size_t& count, std::int64_t low, const char* what) {
  constexpr std::int64_t kMost = 1'000'000;
  return command
      .add_option_function<std::string>(
          name, [&count](const std::string& text) { count = std::stoull(text); }, what)
      ->type_name("N")
      ->default_str(std::to_string(count))
      ->check(integer_in(low, kMost));
}

CLI::Option* add_texts(CLI::App& command, const char* name, const char* type, std::vector<std::string>& texts,
                       const char* what) {
  return command.add_option(name, texts, what)->type_name(type)->expected(1)->take_all()->check(not_empty());
}

void define_engine(CLI::App& command, EngineOptions& engine) {
  constexpr int kMostSlots = 1024, kMostWaiting = 1'000'000;
  constexpr std::int64_t kMostTokens = 1'000'000'000;
  add_count_flag(command, "--parallel", engine.parallel, 1, kMostSlots, "texts in the making at once; also -np");
  command
      .add_option_function<std::string>(
          "-c,--ctx-size", [&engine](const std::string& text) { engine.ctx_size = std::stoll(text); },
          "most tokens of one text, prompt included; 0 = what the model was trained for")
      ->type_name("N")
      ->default_str("0")
      ->check(integer_in(0, kMostTokens));
  add_bytes(command, "--cache-bytes", engine.cache_bytes, "an eighth of what is free",
            "memory for checkpoints of texts that are over");
  add_count_flag(command, "--max-queue", engine.max_queue, 0, kMostWaiting, "requests that may wait; more get 429");
  command
      .add_option_function<std::string>(
          "--speculate", [&engine](const std::string& how) { engine.speculate = how == "ngram"; },
          "ngram drafts tokens by looking up the prompt; never changes a text")
      ->type_name("HOW")
      ->default_str("off")
      ->check(one_of({"off", "ngram"}));
}

void define_http(CLI::App& command, ServeFlags& flags) {
  HttpOptions& http = flags.server.http;
  constexpr int kMostPort = 65535;
  command.add_option("--host", http.host, "address to listen at, or the path of a Unix socket")
      ->type_name("HOST")
      ->default_str(http.host)
      ->check(not_empty());
  command
      .add_option_function<std::string>(
          "--port", [&http](const std::string& text) { http.port = static_cast<std::uint16_t>(std::stoi(text)); },
          "0 = any that is free")
      ->type_name("N")
      ->default_str(std::to_string(http.port))
      ->check(integer_in(0, kMostPort));
  add_texts(command, "--api-key", "KEY", http.access.api_keys, "ask for this key; may be repeated");
  add_texts(command, "--api-key-file", "FILE", flags.api_key_files, "the same, one key a line");
  const auto add_path = [&](const char* name, std::filesystem::path& path, const char* what) {
    command
        .add_option_function<std::string>(
            name, [&path](const std::string& text) { path = text; }, what)
        ->type_name("FILE")
        ->check(not_empty());
  };
  add_path("--ssl-key-file", http.key_file, "private key in PEM: speak TLS");
  add_path("--ssl-cert-file", http.cert_file, "its certificate in PEM, and those between it and the root");
  add_texts(command, "--cors-origin", "ORIGIN", http.access.cors_origins,
            "pages of this origin may ask, such as https://example.org, or *; may be repeated");
  add_texts(command, "--allowed-hosts", "NAME", http.access.hosts,
            "names by which clients may call this server; may be repeated");
  command
      .add_option_function<std::string>(
          "--log-format",
          [&http](const std::string& format) {
            http.log_format = format == "json" ? LogFormat::kJson : LogFormat::kText;
          },
          "of the line each request gets on standard error: text or json")
      ->type_name("FORMAT")
      ->default_str("text")
      ->check(one_of({"text", "json"}));
  add_seconds(command, "--grace", flags.server.grace, "for replies in the making when the server stops");
  add_seconds(command, "--stall-timeout", flags.server.health.stalled, "without a step: /readyz says 503");
  add_seconds(command, "--lost-timeout", flags.server.health.lost, "without a step: the program ends with status 1");
}

void define_api(CLI::App& command, ServeFlags& flags) {
  ApiOptions& api = flags.server.api;
  command.add_option("--alias", api.model_name, "what the model is called (default: its folder's name)")
      ->type_name("NAME")
      ->check(not_empty());
  command.add_option("--chat-template", flags.chat_template, "builtin, or a Jinja file (default: the model's own)")
      ->type_name("FILE")
      ->check(not_empty());
  command
      .add_option_function<std::string>(
          "--slot-save-path", [&api](const std::string& folder) { api.slot_save_path = folder; },
          "clients may save and restore sessions in this folder")
      ->type_name("DIR")
      ->check(not_empty());
  command.add_flag_callback(
      "--no-slots", [&api] { api.slots = false; }, "do not answer GET /slots");
  command.add_flag("--strict", api.strict, "refuse fields nobody knows, and names of other models");
  add_seconds(command, "--request-timeout", api.time_limit, "for one request's texts; then they end (default: any)");
  add_bytes(command, "--max-body-bytes", api.max_chat_body, "16M", "of a request with a prompt; more gets 413");
  add_bytes(command, "--max-other-body-bytes", api.max_other_body, "64K", "of any other; more gets 413");
}

void define_limits(CLI::App& command, HttpLimits& limits) {
  add_bytes(command, "--max-head-bytes", limits.head_bytes, "16K", "of a request's line and fields; more gets 431");
  add_size(command, "--max-head-fields", limits.head_fields, 1, "fields of a request; more get 431");
  add_bytes(command, "--max-target-bytes", limits.target_bytes, "8K", "of path and query; more gets 414");
  add_bytes(command, "--max-bodies-bytes", limits.bodies_bytes, "512M", "of all requests' bodies; more get 503");
  add_bytes(command, "--stream-buffer-bytes", limits.queued_bytes, "256K", "that wait for a slow reader");
  add_size(command, "--max-connections", limits.connections, 1, "one more pushes out the idlest");
  add_size(command, "--max-connections-per-address", limits.connections_per_address, 0, "more get 429; 0 = any number");
  add_size(command, "--max-requests-per-connection", limits.requests_per_connection, 1, "then it closes");
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

std::optional<std::size_t> parse_bytes(const std::string& text) {
  constexpr std::string_view kUnits = "KMGT";
  constexpr std::size_t kPerUnit = 1024, kMost = std::size_t{1} << 50;
  std::size_t bytes = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (problem != std::errc{} || unit.size() > 1 || bytes > kMost) return {};
  if (unit.empty()) return bytes;
  const std::size_t power = kUnits.find(static_cast<char>(std::toupper(static_cast<unsigned char>(unit.front()))));
  if (power == kUnits.npos) return {};
  for (std::size_t i = 0; i <= power; ++i) bytes *= kPerUnit;
  if (bytes > kMost) return {};
  return bytes;
}

void define_serve_flags(CLI::App& command, ServeFlags& flags) {
  add_model_flag(command, flags.dir);
  define_http(command, flags);
  define_engine(command, flags.engine);
  define_api(command, flags);
  add_engine_flags(command, flags.model, "auto");
  define_limits(command, flags.server.http.limits);
  read_environment(command);
  command.footer(command.get_footer() +
                 "\n\nEvery flag is also read from the environment: --max-queue is KL_MAX_QUEUE.");
}

}  // namespace kl::cli
