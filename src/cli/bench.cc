// kl bench: how fast a model runs here, beside what the machine could do.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>

#include "base/output_file.h"
#include "cli/bench_report.h"
#include "cli/exit_status.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/model_location.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/roofline.h"
#include "kl/benchmark.h"
#include "kl/inspect.h"

namespace kl::cli {
namespace {

struct BenchFlags {
  std::string dir;
  std::string format = "md";
  std::string plot;
  BenchOptions options;
  ModelOptions engine;
};

constexpr int kMostTokens = 10'000'000, kMostRepeats = 1000, kMostSequences = 1024;

void define(CLI::App& command, BenchFlags& flags) {
  BenchOptions& o = flags.options;
  add_model_flag(command, flags.dir);
  add_numbers(command, "-p,--prompt", o.prompts, 0, kMostTokens, "prefills of N tokens (ppN); 0 = none");
  add_number(command, "-n,--generate", o.generate, 0, kMostTokens, "steps of one token in a run (tgN); 0 = none");
  add_numbers(command, "-d,--depth", o.depths, 0, kMostTokens, "tokens in the cache before the steps (@ dN)");
  add_numbers(command, "-b,--batch", o.batches, 1, kMostSequences,
              "sequences stepping together: 1 at every depth, more (xN) at a depth of 256");
  add_number(command, "--pp-at-depth", o.prompt_at_depth, 0, kMostTokens,
             "also a prefill of N tokens at every depth above 0");
  add_number(command, "-r,--repeats", o.repeats, 1, kMostRepeats, "runs of every test");
  command.add_flag("--real-depth", o.real_depth, "fill the cache by computing every token, not by repeating 256");
  command.add_flag("--breakdown", o.breakdown, "also the time of each part of the model, and of the barriers");
  add_word(command, "-o,--output", flags.format, {"md", "json", "csv"}, "FORM", "form of the result");
  command.add_option("--plot", flags.plot, "also draw a roofline picture")
      ->type_name("FILE.svg")
      ->check(check("a name that ends in .svg (rsvg-convert makes a PNG of it)",
                    [](const std::string& name) { return name.ends_with(".svg"); }));
  add_engine_flags(command, flags.engine);
}

std::size_t file_bytes(const std::filesystem::path& dir) {
  std::size_t sum = 0;
  for (const FileReport& file : inspect(dir).files) sum += static_cast<std::size_t>(file.bytes);
  return sum;
}

int run_bench(const BenchFlags& flags) {
  const std::filesystem::path dir = find_model(flags.dir);
  BenchReport report{.model = dir.string()};
  const auto start = std::chrono::steady_clock::now();
  Model model = Model::open(dir, flags.engine);
  report.load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report.file_bytes = file_bytes(dir);

  catch_interrupts();  // from here on there may be a temporary file to remove
  std::optional<OutputFile> plot;
  if (!flags.plot.empty()) plot.emplace(flags.plot);
  report.limits = measure_limits(model.threads(), model.isa());

  Output output;
  ProgressBars bars;
  const bool is_table = flags.format == "md";
  const auto write_now = [&](const std::string& text) {
    output.write(text);
    output.flush();
  };
  BenchOptions options = flags.options;
  std::erase(options.prompts, 0);
  options.progress = bars.callback();
  options.on_result = [&](const BenchResult& result) {
    bars.hide();
    if (is_table) write_now(markdown_row(result));
    report.results.push_back(result);
  };

  if (is_table) write_now(markdown_head(report));
  report.resident_bytes = run_benchmark(model, report.limits, options);
  bars.hide();
  if (is_table && options.breakdown)
    for (const BenchResult& result : report.results) output.write(markdown_breakdown(result, report.limits));
  if (is_table) output.write(markdown_tail(report));
  if (flags.format == "json") output.write(bench_json(report));
  if (flags.format == "csv") output.write(bench_csv(report));
  output.flush();
  if (plot) {
    const std::string svg = roofline_svg(report);
    plot->write(svg.data(), svg.size());
    plot->commit();
  }
  return kExitOk;
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  add_command<BenchFlags>(app, action, "bench", "Time a model and compare it with this machine's limits",
                          "  kl bench -m DIR -p 512,2048 -d 0,4096 -b 1,4\n"
                          "  kl bench -n 32 --breakdown --plot roofline.svg",
                          define, run_bench);
}

}  // namespace kl::cli
