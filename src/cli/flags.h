#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/flag_types.h"
#include "cli/input.h"
#include "kl/generate.h"
#include "kl/model.h"

namespace kl::cli {

/// -m, for every command.
void add_model_flag(CLI::App& command, std::string& dir);

/// -c
void add_ctx_flag(CLI::App& command, std::int64_t& ctx_size, const char* names, const char* what);

/// --cache-bytes
void add_cache_bytes_flag(CLI::App& command, std::size_t& bytes);

/// --chat-template
void add_chat_template_flag(CLI::App& command, std::string& choice);

/// -o, which must be given: where to write.
void add_out_flag(CLI::App& command, std::string& out, const char* type, const char* what);

/// A positional text ("-" is standard input) or -f FILE.
void add_text_source(CLI::App& command, TextSource& source, const char* name);

/// -t.
void add_threads_flag(CLI::App& command, int& threads);

/// -t, --chunk, --cache-type, --state-type, --compute and --mla.
void add_engine_flags(CLI::App& command, ModelOptions& options);

/// --router-weights, --kv-a-eps, --l2-eps: conventions in which other implementations differ.
void add_convention_flags(CLI::App& command, ModelOptions& options);

/// -n, --stop, --ignore-eos and all that shapes the draw.  If --seed is not given, `seed` stays empty.
struct GenerateFlags {
  GenerateOptions options;
  std::optional<std::uint64_t> seed;
  int penalty_context = 20;

  /// The options with a seed, the one given or one drawn now, and the context of all penalties.
  GenerateOptions decided() const;
};
void add_generate_flags(CLI::App& command, GenerateFlags& flags, int fewest_tokens);

/// --speculate
void add_speculate_flag(CLI::App& command, bool& ngram);

/// The same and --max-draft: most tokens drafted at a time, 0 if none are to be.
struct SpeculationFlags {
  bool ngram = false;
  int most = 8;
  int max_draft() const { return ngram ? most : 0; }
};
void add_speculation_flags(CLI::App& command, SpeculationFlags& flags);

/// --logprobs N
CLI::Option* add_logprobs_flag(CLI::App& command, GenerateFlags& flags);

/// Adds a command; `on_chosen` is called if the command line asks for it and is sound.
CLI::App& add_subcommand(CLI::App& app, const char* name, const char* summary, const char* example,
                         std::function<void()> on_chosen);

/// From here on `--json=3` is an error.
void forbid_values_of_switches(CLI::App& command);

/// The same for a command with flags, which live as long as its work: Flags{} is filled by `define` and given to `run`.
template <class Flags>
void add_command(CLI::App& app, Action& action, const char* name, const char* summary, const char* example,
                 void (*define)(CLI::App&, Flags&), int (*run)(const Flags&)) {
  const auto flags = std::make_shared<Flags>();
  CLI::App& command = add_subcommand(app, name, summary, example,
                                     [&action, flags, run] { action = [flags, run] { return run(*flags); }; });
  define(command, *flags);
  forbid_values_of_switches(command);
}

}  // namespace kl::cli
