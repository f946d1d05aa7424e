// kl quantize: a model's matrices in 4 or 8 bits, laid out as the kernels read them.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "cli/flags.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/json_text.h"
#include "cli/loaded_model.h"
#include "cli/model_location.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/quantities.h"
#include "kl/mixed_precision.h"
#include "kl/quantize.h"

namespace kl::cli {
namespace {

struct QuantizeFlags {
  std::string dir;
  std::string out;
  bool json = false;
  QuantizeOptions options;
  std::string text;  // empty: every matrix gets the same
  MixedOptions mixed;
};

void define(CLI::App& command, QuantizeFlags& flags) {
  add_model_flag(command, flags.dir);
  add_out_flag(command, flags.out, "DIR", "the folder to write; new, empty, or left unfinished by this same command");
  CLI::Option* bits =
      add_choice(command, "--bits", flags.options.bits, {{"4", 4}, {"8", 8}}, "N", "bits of a weight: 4 or 8");
  CLI::Option* group = add_choice(command, "--group-size", flags.options.group_size, {{"32", 32}, {"64", 64}}, "N",
                                  "weights that share a scale: 32, or 64 with a minimum beside the scale");
  CLI::Option* target = add_number(command, "--target-bpw", flags.mixed.target_bits, 1, 64,
                                   "bits a weight at most, scales included: 4, 8 or 16 where they pay most");
  target->type_name("X")->default_str("")->excludes(bits)->excludes(group);
  CLI::Option* text =
      add_text(command, "--calibrate", flags.text, "FILE", "the text that shows where; needed with --target-bpw");
  text->needs(target);
  target->needs(text);
  constexpr int kFewest = 64, kMost = 1 << 20;
  add_number(command, "--calibration-tokens", flags.mixed.tokens, kFewest, kMost, "how much of it is used")
      ->needs(text);
  add_threads_flag(command, flags.options.threads);
  command.add_flag("--json", flags.json, "one object about what was written");
}

nlohmann::ordered_json json_of(const GroupChoice& g) {
  return {{"name", g.name}, {"weights", g.weights}, {"bytes", g.bytes},
          {"kl_4", g.kl_4}, {"kl_8", g.kl_8},       {"bits", g.bits}};
}

std::string table_of(const MixedResult& result) {
  std::size_t width = 5;
  for (const GroupChoice& g : result.groups) width = std::max(width, g.name.size());
  std::string text =
      fmt::format("{:<{}}  {:>14}  {:>10}  {:>10}  bits\n", "group", width, "weights", "KL at 4", "KL at 8");
  for (const GroupChoice& g : result.groups) {
    text += fmt::format("{:<{}}  {:>14}  {:>10.2e}  {:>10.2e}  {:>4}\n", g.name, width, grouped(g.weights), g.kl_4,
                        g.kl_8, g.bits);
  }
  return text;
}

/// --target-bpw: bits where they pay most.
int run_mixed(const QuantizeFlags& flags) {
  const std::filesystem::path dir = find_model(flags.dir);
  ModelArgs::load(dir);
  const std::vector<Token> text = Tokenizer::open(dir).encode(Input(flags.text).read_all());
  MixedOptions options = flags.mixed;
  options.threads = flags.options.threads;
  ProgressBars bars;
  options.progress = bars.callback();
  catch_interrupts();
  const MixedResult result = quantize_mixed(dir, flags.out, text, options);
  bars.hide();

  Output output;
  if (flags.json) {
    nlohmann::ordered_json groups = nlohmann::ordered_json::array();
    for (const GroupChoice& g : result.groups) groups.push_back(json_of(g));
    output.write(to_line(nlohmann::ordered_json{{"path", flags.out},
                                                {"target_bits_per_weight", flags.mixed.target_bits},
                                                {"bits_per_weight", result.bits},
                                                {"range", {result.least_bits, result.most_bits}},
                                                {"kl", result.kl},
                                                {"positions", result.positions},
                                                {"packed_weights", result.written.packed_weights},
                                                {"kept_weights", result.written.kept_weights},
                                                {"source_bytes", result.written.source_bytes},
                                                {"tensor_bytes", result.written.tensor_bytes},
                                                {"files", result.written.files},
                                                {"groups", groups}}));
  } else {
    output.write(table_of(result));
    output.write(fmt::format(
        "{}: {:.4f} bits a quantisable weight of {} asked for; {} from {}; KL {:.3e} nats at {} positions of {}\n",
        flags.out, result.bits, flags.mixed.target_bits, bytes_text(result.written.tensor_bytes),
        bytes_text(result.written.source_bytes), result.kl, grouped(result.positions), flags.text));
  }
  return output.finish();
}

int run_quantize(const QuantizeFlags& flags) {
  if (!flags.text.empty()) return run_mixed(flags);
  QuantizeOptions options = flags.options;
  ProgressBars bars(flags.out);
  options.progress = bars.callback();
  catch_interrupts();
  const QuantizeResult result = quantize(find_model(flags.dir), flags.out, options);

  const double bits =
      8.0 * static_cast<double>(result.tensor_bytes) / static_cast<double>(result.packed_weights + result.kept_weights);
  Output output;
  if (flags.json) {
    output.write(to_line(nlohmann::ordered_json{{"path", flags.out},
                                                {"bits", flags.options.bits},
                                                {"group_size", flags.options.group_size},
                                                {"packed_weights", result.packed_weights},
                                                {"kept_weights", result.kept_weights},
                                                {"source_bytes", result.source_bytes},
                                                {"tensor_bytes", result.tensor_bytes},
                                                {"bits_per_weight", bits},
                                                {"files", result.files}}));
  } else {
    output.write(fmt::format("{}: {} weights in {} bits, {} as they were; {} from {}, {:.2f} bits a weight\n",
                             flags.out, grouped(result.packed_weights), flags.options.bits,
                             grouped(result.kept_weights), bytes_text(result.tensor_bytes),
                             bytes_text(result.source_bytes), bits));
  }
  return output.finish();
}

}  // namespace

void add_quantize(CLI::App& app, Action& action) {
  add_command<QuantizeFlags>(
      app, action, "quantize", "Write a model with 4- or 8-bit weights",
      "  kl quantize -m /models/Kimi-Linear -o /models/Kimi-Linear-4bit\n"
      "  kl quantize -o /tmp/demo-8bit --bits 8 --group-size 64\n"
      "  kl quantize -o /tmp/demo-mixed --target-bpw 5 --calibrate play.txt --calibration-tokens 256",
      define, run_quantize);
}

}  // namespace kl::cli
