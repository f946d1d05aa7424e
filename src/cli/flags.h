#pragma once
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>

#include "cli/commands.h"
#include "cli/input.h"
#include "kl/generate.h"
#include "kl/model.h"

namespace kl::cli {

// Checks of a flag's value.  They explain themselves in our grammar: "--temp: expected a number from 0 to 100, got warm".
CLI::Validator number_in(double low, double high);
CLI::Validator integer_in(std::int64_t low, std::int64_t high);
CLI::Validator one_of(std::vector<std::string> words);
CLI::Validator not_empty();

/// -m, for every command.
void add_model_flag(CLI::App& command, std::string& dir);

/// A positional text ("-" is standard input) or -f FILE.
void add_text_source(CLI::App& command, TextSource& source, const char* name);

/// -t, --chunk and, with the given default, --mla.
void add_engine_flags(CLI::App& command, ModelOptions& options, const char* default_mla);

/// -n, --stop, --ignore-eos and all that shapes the draw.  If --seed is not given, `seed` stays empty.
struct GenerateFlags {
  GenerateOptions options;
  std::optional<std::uint64_t> seed;

  /// The options with a seed: the one given, or one drawn now.
  GenerateOptions with_seed() const;
};
void add_generate_flags(CLI::App& command, GenerateFlags& flags);

/// Adds a command whose flags live as long as its work: Flags{} is filled by `define(command, flags)` and given to `run`.
template <class Flags, class Define>
void add_command(CLI::App& app, Action& action, const char* name, const char* summary, const char* example,
                 Define&& define, int (*run)(const Flags&)) {
  CLI::App* command = app.add_subcommand(name, summary);
  const auto flags = std::make_shared<Flags>();
  define(*command, *flags);
  command->footer(std::string("Example:\n") + example);
  command->callback([&action, flags, run] { action = [flags, run] { return run(*flags); }; });
}

}  // namespace kl::cli
