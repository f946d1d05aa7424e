// kl verify: is a model what it should be, and does it compute what another program computes?
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
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
#include "cli/tokenizer_problem.h"
#include "cli/verify_report.h"
#include "kl/error.h"
#include "kl/verify.h"

namespace kl::cli {
namespace {

struct VerifyFlags {
  std::string dir;
  std::string against;
  bool write_sums = false;
  bool json = false;
  ParityOptions parity;
};

void define(CLI::App& command, VerifyFlags& flags) {
  add_model_flag(command, flags.dir);
  CLI::Option* against = add_text(command, "--against", flags.against, "DUMP.safetensors",
                                  "compare with what another program computed (docs/verify.md)");
  command.add_flag("--write-sums", flags.write_sums, "write SHA256SUMS into the folder instead")->excludes(against);
  add_choice(command, "--precision", flags.parity.precision,
             {{"auto", Precision::kAuto}, {"f32", Precision::kF32}, {"bf16", Precision::kBf16}}, "TYPE",
             "of the other program: f32, bf16, or auto: as the dump says");
  command.add_flag("--json", flags.json, "one object instead of the lines");
  flags.parity.engine.mla_form = MlaForm::kAbsorbed;
  add_engine_flags(command, flags.parity.engine);
  add_convention_flags(command, flags.parity.engine);
}

int write_sums(const VerifyFlags& flags, const std::filesystem::path& dir) {
  ProgressBars bars(dir.string());
  const ChecksumResult result = write_checksums(dir, {flags.parity.engine.threads, bars.callback()});
  Output output;
  if (flags.json) {
    output.write(to_line(nlohmann::ordered_json{
        {"path", dir.string()}, {"files_hashed", result.files}, {"bytes_hashed", result.bytes}}));
  } else {
    output.write(printable_lines(fmt::format("{}: {} files, {}\n", (dir / "SHA256SUMS").string(), grouped(result.files),
                                             bytes_text(result.bytes))));
  }
  return output.finish();
}

int check_integrity(const VerifyFlags& flags, const std::filesystem::path& dir) {
  ProgressBars bars(dir.string());
  IntegrityReport report = verify_integrity(dir, {flags.parity.engine.threads, bars.callback()});
  bars.hide();
  if (const auto problem = tokenizer_problem(dir)) {
    report.findings.insert(report.findings.begin(), {FindingRule::kStructure, {}, {}, problem->what(), true});
  }
  Output output;
  output.write(flags.json ? integrity_json(report) : integrity_text(report));
  output.flush();
  if (report.findings.empty()) return kExitOk;
  const std::int64_t problems = report.num_problems();
  if (problems == 0) {
    throw Error(ErrorCode::kFailure,
                fmt::format("{}: expected a model like any other, got {} suspicious finding{}", report.path,
                            report.findings.size(), report.findings.size() == 1 ? "" : "s"));
  }
  throw Error(ErrorCode::kCorrupt, fmt::format("{}: expected a sound model, got {} problem{}", report.path, problems,
                                               problems == 1 ? "" : "s"));
}

int check_parity(const VerifyFlags& flags, const std::filesystem::path& dir) {
  ParityOptions options = flags.parity;
  ProgressBars bars;
  options.progress = bars.callback();
  const ParityReport report = compare_with_dump(dir, flags.against, options);
  bars.hide();
  Output output;
  output.write(flags.json ? parity_json(dir.string(), report) : parity_text(dir.string(), report));
  output.flush();
  if (report.answer >= 0) return kExitOk;
  throw Error(ErrorCode::kFailure,
              fmt::format("{}: expected the numbers of {}, got others", dir.string(), flags.against));
}

int run_verify(const VerifyFlags& flags) {
  const std::filesystem::path dir = find_model(flags.dir);
  catch_interrupts();
  catch_termination();
  if (flags.write_sums) return write_sums(flags, dir);
  return flags.against.empty() ? check_integrity(flags, dir) : check_parity(flags, dir);
}

}  // namespace

void add_verify(CLI::App& app, Action& action) {
  add_command<VerifyFlags>(app, action, "verify", "Prove that a model is what it should be",
                           "  kl verify\n"
                           "  kl verify -m DIR --write-sums\n"
                           "  kl verify -m DIR --against dump.safetensors",
                           define, run_verify);
}

}  // namespace kl::cli
