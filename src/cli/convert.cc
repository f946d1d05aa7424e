// kl convert: a model in another program's format.
#include "kl/convert.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/json_text.h"
#include "cli/model_location.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/quantities.h"

namespace kl::cli {
namespace {

constexpr double kGigabyte = 1e9;

struct ConvertFlags {
  std::string dir, out, to, mode;
  std::string type = "keep";
  int bits = 0, group_size = 0;  // 0: not given
  double shard_size = 5;
  int threads = 0;
  bool json = false;
};

void define(CLI::App& command, ConvertFlags& flags) {
  add_model_flag(command, flags.dir);
  add_out_flag(command, flags.out, "DIR", "the folder to write; new, empty, or left unfinished by this same command");
  add_word(command, "--to", flags.to, {"hf", "mlx", "kl", "gguf"}, "FORMAT",
           "hf, mlx, kl or gguf: whose format to write")
      ->required();
  add_word(command, "--type", flags.type, {"keep", "f32", "f16", "bf16", "q8_0", "q4_0"}, "TYPE",
           "keep, f32, f16 or bf16, which decode quantised weights; gguf: also q8_0, q4_0");
  add_choice(command, "--bits", flags.bits, {{"2", 2}, {"3", 3}, {"4", 4}, {"5", 5}, {"6", 6}, {"8", 8}}, "N",
             "mlx: quantise to 2, 3, 4, 5, 6 or 8 bits");
  add_choice(command, "--group-size", flags.group_size, {{"32", 32}, {"64", 64}, {"128", 128}}, "N",
             "mlx: quantise, 32, 64 or 128 weights to a scale");
  add_word(command, "--mode", flags.mode, {"affine", "mxfp4"}, "MODE",
           "mlx: quantise as affine (4 bits, groups of 64 unless given) or mxfp4");
  add_number(command, "--shard-size", flags.shard_size, 1e-6, 1e6,
             "most gigabytes of a file; complete ones survive an interruption")
      ->type_name("GB");
  add_threads_flag(command, flags.threads);
  command.add_flag("--json", flags.json, "one object about what was written");
}

/// The flags that decide what is written, without folders and threads.
std::string command_text(const ConvertFlags& flags) {
  std::string text = "kl convert --to " + flags.to;
  if (flags.type != "keep") text += " --type " + flags.type;
  if (!flags.mode.empty()) text += " --mode " + flags.mode;
  if (flags.bits > 0) text += fmt::format(" --bits {}", flags.bits);
  if (flags.group_size > 0) text += fmt::format(" --group-size {}", flags.group_size);
  return text;
}

ConvertOptions options_of(const ConvertFlags& flags) {
  ConvertOptions options;
  for (const TargetFormat format : {TargetFormat::kHf, TargetFormat::kMlx, TargetFormat::kKl, TargetFormat::kGguf})
    if (flags.to == name_of(format)) options.to = format;
  options.type = flags.type;
  options.threads = flags.threads;
  options.max_shard_bytes = static_cast<std::int64_t>(flags.shard_size * kGigabyte);
  options.command = command_text(flags);
  if (flags.bits > 0 || flags.group_size > 0 || !flags.mode.empty()) {
    const bool is_mxfp4 = flags.mode == "mxfp4";
    options.mlx = MlxQuantization{is_mxfp4, flags.bits > 0 ? flags.bits : 4,
                                  flags.group_size > 0 ? flags.group_size
                                  : is_mxfp4           ? 32
                                                       : 64};
  }
  return options;
}

std::string summary(const ConvertFlags& flags, const ConvertResult& r) {
  std::string text = fmt::format("{}: {} weights, {} from {}", printable(flags.out), grouped(r.weights),
                                 bytes_text(r.tensor_bytes), bytes_text(r.source_bytes));
  if (r.quantized_weights > 0) text += fmt::format("; {} quantised", grouped(r.quantized_weights));
  if (r.kept_weights > 0) text += fmt::format("; {} quantised already and kept as they were", grouped(r.kept_weights));
  if (r.rounded_weights > 0) text += fmt::format("; {} rounded to {}", grouped(r.rounded_weights), flags.type);
  if (r.resumed_files > 0) text += fmt::format("; {} of {} files were complete", r.resumed_files, r.files);
  return text + "\n";
}

int run_convert(const ConvertFlags& flags) {
  ConvertOptions options = options_of(flags);
  ProgressBars bars(flags.out);
  options.progress = bars.callback();
  catch_interrupts();
  const ConvertResult result = convert(find_model(flags.dir), flags.out, options);
  Output output;
  output.write(flags.json ? to_line(nlohmann::ordered_json{{"path", flags.out},
                                                           {"format", flags.to},
                                                           {"weights", result.weights},
                                                           {"quantized_weights", result.quantized_weights},
                                                           {"kept_weights", result.kept_weights},
                                                           {"rounded_weights", result.rounded_weights},
                                                           {"source_bytes", result.source_bytes},
                                                           {"tensor_bytes", result.tensor_bytes},
                                                           {"files", result.files},
                                                           {"resumed_files", result.resumed_files}})
                          : summary(flags, result));
  return output.finish();
}

}  // namespace

void add_convert(CLI::App& app, Action& action) {
  add_command<ConvertFlags>(app, action, "convert", "Write a model in another program's format",
                            "  kl convert -m /models/Kimi-Linear -o /models/Kimi-Linear-mlx-4bit --to mlx --bits 4\n"
                            "  kl convert -o /tmp/demo-gguf --to gguf --type q8_0",
                            define, run_convert);
}

}  // namespace kl::cli
