#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/input.h"
#include "kl/generate.h"
#include "kl/model.h"

namespace CLI {
class App;
class Option;
class Validator;
}  // namespace CLI

namespace kl::cli {

// Checks of a flag's value.  They explain themselves in our grammar:
// "--temp: expected a number from 0 to 100, got warm".
CLI::Validator number_in(double low, double high);
CLI::Validator integer_in(std::int64_t low, std::int64_t high);
CLI::Validator one_of(std::vector<std::string> words);
CLI::Validator not_empty();
CLI::Validator dash_only(const char* hint);  ///< "-" for standard input

/// -m, for every command.
void add_model_flag(CLI::App& command, std::string& dir);

/// -c
void add_ctx_flag(CLI::App& command, std::int64_t& ctx_size, const char* names, const char* what);

/// --cache-bytes
void add_cache_bytes_flag(CLI::App& command, std::int64_t& bytes);

/// --chat-template
void add_chat_template_flag(CLI::App& command, std::string& choice);

/// --seed, for what is not text
void add_seed_flag(CLI::App& command, std::uint64_t& seed, const char* what);

/// A number, or several separated by commas.
CLI::Option* add_list_flag(CLI::App& command, const char* names, std::vector<int>& list, int low, int high,
                           const char* what);
CLI::Option* add_count_flag(CLI::App& command, const char* names, int& count, int low, int high, const char* what);

/// A positional text ("-" is standard input) or -f FILE.
void add_text_source(CLI::App& command, TextSource& source, const char* name);

/// -t.
void add_threads_flag(CLI::App& command, int& threads);

/// -t, --chunk, --cache-type, --state-type, --compute and, with the given default, --mla.
void add_engine_flags(CLI::App& command, ModelOptions& options, const char* default_mla);

/// --router-weights, --kv-a-eps, --l2-eps: conventions in which other implementations differ.
void add_convention_flags(CLI::App& command, ModelOptions& options);

/// -n, --stop, --ignore-eos and all that shapes the draw.  If --seed is not given, `seed` stays empty.
struct GenerateFlags {
  GenerateOptions options;
  std::optional<std::uint64_t> seed;

  /// The options with a seed: the one given, or one drawn now.
  GenerateOptions with_seed() const;
};
void add_generate_flags(CLI::App& command, GenerateFlags& flags, int fewest_tokens);

/// --speculate, --max-draft: most tokens drafted at a time, 0 if none are to be.
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
