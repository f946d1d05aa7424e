// kl perplexity: how well a model foretells a text, and how far it is from another.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <nlohmann/json.hpp>

#include "cli/flags.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/json_text.h"
#include "cli/loaded_model.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/quantities.h"
#include "kl/error.h"
#include "kl/perplexity.h"

namespace kl::cli {
namespace {

struct PerplexityFlags {
  std::string dir;
  TextSource text;
  std::string base, save_base;  // empty: none
  bool json = false;
  PerplexityOptions options;
  ModelOptions engine;
};

void define(CLI::App& command, PerplexityFlags& flags) {
  constexpr int kLeastContext = 3, kMostContext = 1 << 20, kMostWindows = 4096;
  add_model_flag(command, flags.dir);
  add_text_source(command, flags.text, "TEXT");
  add_number(command, "-c,--context", flags.options.context, kLeastContext, kMostContext,
             "tokens of a window; its second half is scored");
  CLI::Option* stride = add_number(command, "--stride", flags.options.stride, 0, kMostContext,
                                   "windows begin every N tokens, and the last N of each are scored; 0 = side by side");
  command.add_flag("--bos", flags.options.bos, "windows begin with [BOS] in the place of their first token")
      ->excludes(stride);
  add_number(command, "-b,--batch", flags.options.batch, 0, kMostWindows,
             "windows read together; never changes results; 0 = as many as fill a pass");
  add_text(command, "--base", flags.base, "FILE", "compare with the log-probabilities saved in FILE");
  add_text(command, "--save-base", flags.save_base, "FILE", "save log-probabilities to FILE, 2 bytes for each");
  command.add_flag("--json", flags.json, "one object");
  add_engine_flags(command, flags.engine);
}

nlohmann::ordered_json json_of(const BaseComparison& c) {
  return {{"kl", c.kl},
          {"kl_error", c.kl_error},
          {"kl_median", c.kl_median},
          {"kl_99", c.kl_99},
          {"kl_max", c.kl_max},
          {"same_top", c.same_top},
          {"same_top_error", c.same_top_error},
          {"perplexity", c.perplexity},
          {"ratio", c.ratio},
          {"ratio_error", c.ratio_error}};
}

nlohmann::ordered_json json_of(const PerplexityFlags& flags, const LoadedModel& loaded, const PerplexityResult& r,
                               double seconds) {
  return {
      {"perplexity", r.perplexity},
      {"error", r.error},
      {"nll", r.nll},
      {"bits_per_byte", r.bits_per_byte},
      {"base", r.comparison ? json_of(*r.comparison) : nlohmann::ordered_json(nullptr)},
      {"counts",
       {{"tokens", r.tokens}, {"windows", r.windows}, {"read", r.read}, {"scored", r.positions}, {"bytes", r.bytes}}},
      {"context", flags.options.context},
      {"stride", flags.options.stride},
      {"seconds", seconds},
      {"tokens_per_s", static_cast<double>(r.read) / seconds},
      {"model", loaded.dir.string()},
      {"isa", loaded.model.isa()},
      {"threads", loaded.model.threads()}};
}

std::string text_of(const PerplexityResult& r, double seconds) {
  std::string text = fmt::format(
      "perplexity      {:.4f} +- {:.5f}\n"
      "bits per byte   {:.4f}\n"
      "scored          {} tokens, {} bytes, in {} windows; {} tokens read at {:.0f}/s\n",
      r.perplexity, r.error, r.bits_per_byte, grouped(r.positions), grouped(r.bytes), grouped(r.windows),
      grouped(r.read), static_cast<double>(r.read) / seconds);
  if (!r.comparison) return text;
  const BaseComparison& c = *r.comparison;
  return text + fmt::format(
                    "against the base\n"
                    "mean KL         {:.3e} +- {:.1e} nats\n"
                    "KL quantiles    median {:.3e}, 99 % {:.3e}, largest {:.3e}\n"
                    "same likeliest  {:.3f} +- {:.3f} %\n"
                    "perplexities    {:.4f} / {:.4f} = {:.6f} +- {:.6f}\n",
                    c.kl, c.kl_error, c.kl_median, c.kl_99, c.kl_max, 100 * c.same_top, 100 * c.same_top_error,
                    r.perplexity, c.perplexity, c.ratio, c.ratio_error);
}

int run_perplexity(const PerplexityFlags& flags) {
  using Clock = std::chrono::steady_clock;
  LoadedModel loaded = LoadedModel::open(flags.dir, flags.engine);
  const std::string text = flags.text.read();
  std::error_code ignored;
  if (!flags.save_base.empty() && std::filesystem::equivalent(flags.save_base, flags.base, ignored)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("--save-base: expected a new file, got {}, which --base names", flags.save_base));
  }
  PerplexityOptions options = flags.options;
  options.base = flags.base;
  options.save_base = flags.save_base;
  ProgressBars bars;
  options.progress = bars.callback();
  catch_interrupts();
  catch_termination();
  const Clock::time_point start = Clock::now();
  const PerplexityResult result = perplexity(loaded.model, loaded.tokenizer, text, options);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();

  Output output;
  output.write(flags.json ? to_line(json_of(flags, loaded, result, seconds)) : text_of(result, seconds));
  return output.finish();
}

}  // namespace

void add_perplexity(CLI::App& app, Action& action) {
  add_command<PerplexityFlags>(app, action, "perplexity", "Score a text, alone or against another model",
                               "  kl perplexity -f play.txt --save-base play.base\n"
                               "  kl perplexity -f play.txt --base play.base --state-type bf16",
                               define, run_perplexity);
}

}  // namespace kl::cli
