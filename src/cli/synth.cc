// kl synth: a model folder of any size with made-up weights, to test and time real dimensions.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/json_text.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/quantities.h"
#include "kl/error.h"
#include "kl/synth.h"
#include "kl/tokenizer.h"

namespace kl::cli {
namespace {

struct SynthFlags {
  std::string config;
  std::string like;
  std::string out;
  std::string tokenizer;
  bool json = false;
  SynthOptions options;
};

void define(CLI::App& command, SynthFlags& flags) {
  CLI::Option* config = add_text(command, "--config", flags.config, "FILE", "make what this config.json describes");
  add_word(command, "--like", flags.like, {"48b", "slice4", "slice8", "tiny"}, "NAME",
           "or a known shape: 48b, its first 4 or 8 layers (slice4, slice8), or tiny")
      ->excludes(config);
  add_out_flag(command, flags.out, "DIR", "the folder to write; must not exist or be empty");
  add_word(command, "--dtype", flags.options.dtype, {"bf16", "f16", "f32"}, "TYPE", "type of the weights");
  add_choice(command, "--bits", flags.options.bits, {{"4", 4}, {"8", 8}}, "N",
             "quantised weights, as kl quantize writes them: 4 or 8");
  add_choice(command, "--group-size", flags.options.group_size, {{"32", 32}, {"64", 64}}, "N",
             "of quantised weights: 32 or 64");
  add_number(command, "--seed", flags.options.seed, 0, kAnySeed, "same seed, same bytes");
  add_text(command, "--tokenizer", flags.tokenizer, "FILE",
           "a tiktoken.model to copy into the folder (default: a tokenizer of single bytes)");
  command.add_flag("--json", flags.json, "one object about what was written");
}

/// A vocabulary that the model could not use is refused before anything is written.
void check_tokenizer(const std::string& file, const ModelArgs& args) {
  const int ranks = Tokenizer::open(file).num_ranks();
  if (ranks > args.vocab_size) {
    throw Error(ErrorCode::kCorrupt, fmt::format("{}: expected at most {} tokens (the model's vocab_size), got {}",
                                                 file, args.vocab_size, ranks));
  }
}

int run_synth(const SynthFlags& flags) {
  if (flags.config.empty() && flags.like.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "--config or --like: expected one of them, got none");
  }
  const ModelArgs args = flags.config.empty() ? ModelArgs::like(flags.like) : ModelArgs::load(flags.config);
  SynthOptions options = flags.options;
  options.tokenizer = flags.tokenizer;
  if (!flags.tokenizer.empty()) check_tokenizer(flags.tokenizer, args);
  ProgressBars bars(flags.out);
  options.progress = bars.callback();
  catch_interrupts();
  catch_termination();
  const SynthResult result = synthesize(args, flags.out, options);

  Output output;
  if (flags.json) {
    output.write(to_line(nlohmann::ordered_json{{"path", flags.out},
                                                {"parameters", result.parameters},
                                                {"tensors", result.tensors},
                                                {"tensor_bytes", result.tensor_bytes},
                                                {"files", result.files}}));
  } else {
    output.write(fmt::format("{}: {} parameters in {} tensors, {} in {} file{}\n", flags.out,
                             grouped(result.parameters), grouped(result.tensors), bytes_text(result.tensor_bytes),
                             result.files, result.files == 1 ? "" : "s"));
  }
  return output.finish();
}

}  // namespace

void add_synth(CLI::App& app, Action& action) {
  add_command<SynthFlags>(app, action, "synth", "Make a model of any size with random weights",
                          "  kl synth --like slice4 -o /tmp/slice4\n"
                          "  kl synth --config models/demo/config.json -o /tmp/random --seed 7",
                          define, run_synth);
}

}  // namespace kl::cli
