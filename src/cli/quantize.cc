// kl quantize: a model's matrices in 4 or 8 bits, laid out as the kernels read them.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "cli/exit_status.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/json_text.h"
#include "cli/model_location.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/quantities.h"
#include "kl/quantize.h"

namespace kl::cli {
namespace {

struct QuantizeFlags {
  std::string dir;
  std::string out;
  bool json = false;
  QuantizeOptions options;
};

void define(CLI::App& command, QuantizeFlags& flags) {
  add_model_flag(command, flags.dir);
  command.add_option("-o,--out", flags.out, "the folder to write; new, empty, or left unfinished by this same command")
      ->type_name("DIR")
      ->required()
      ->check(not_empty());
  command.add_option("--bits", flags.options.bits, "bits of a weight: 4 or 8")
      ->type_name("N")
      ->check(one_of({"4", "8"}))
      ->capture_default_str();
  command
      .add_option("--group-size", flags.options.group_size,
                  "weights that share a scale: 32, or 64 with a minimum beside the scale")
      ->type_name("N")
      ->check(one_of({"32", "64"}))
      ->capture_default_str();
  add_threads_flag(command, flags.options.threads);
  command.add_flag("--json", flags.json, "one object about what was written");
}

int run_quantize(const QuantizeFlags& flags) {
  QuantizeOptions options = flags.options;
  Progress progress("writing " + printable(flags.out));
  options.progress = [&](std::int64_t done, std::int64_t total) {
    progress.update_bytes(done, total);
    if (interrupted()) throw Interrupted{};
  };
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
  output.flush();
  return kExitOk;
}

}  // namespace

void add_quantize(CLI::App& app, Action& action) {
  add_command<QuantizeFlags>(app, action, "quantize", "Write a model with 4- or 8-bit weights",
                             "  kl quantize -m /models/Kimi-Linear -o /models/Kimi-Linear-4bit\n"
                             "  kl quantize -o /tmp/demo-8bit --bits 8 --group-size 64",
                             define, run_quantize);
}

}  // namespace kl::cli
