#include "cli/verify_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "cli/json_text.h"
#include "cli/quantities.h"

namespace kl::cli {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr std::size_t kMostLines = 50;  // findings shown to a person

std::string row(const char* subject, const std::string& fact) {
  return fmt::format("  {:<12} {}\n", subject, printable_lines(fact));
}

std::string plural(std::int64_t count, const char* what) {
  return fmt::format("{} {}{}", grouped(count), what, count == 1 ? "" : "s");
}

/// "model.safetensors: model.norm.weight: expected finite numbers, ..."
std::string line_of(const Finding& f) {
  const std::string file = f.file.empty() ? "" : f.file + ": ", tensor = f.tensor.empty() ? "" : f.tensor + ": ";
  // Messages of files that could not be read begin with the path.
  const bool names_itself = f.rule == FindingRule::kStructure || f.text.find("/" + f.file + ":") != std::string::npos;
  return names_itself ? f.text : file + tensor + f.text;
}

std::string flags_text(const ParityRun& run) {
  return run.switches.empty() ? "as asked" : fmt::format("{}", fmt::join(run.switches, " "));
}

/// "layer 1, router_weights, position 0: difference ..."; the part of the name behind "layer.1." says which array.
std::string deviation_text(const ArrayComparison& c) {
  const std::string prefix = fmt::format("layer.{}.", c.layer);
  const std::string where =
      c.layer < 0 ? c.name
                  : fmt::format("layer {}, {}", c.layer, c.name.substr(std::min(prefix.size(), c.name.size())));
  return fmt::format("{}, {} {}: {}", where, c.row_kind, c.row, c.text);
}

std::string agreement_text(const ParityRun& run) {
  return fmt::format("largest difference {:.2g}, {:.2g} of the largest logit", run.difference, run.relative);
}

std::int64_t num_layers(const ParityRun& run) {
  int layers = 0, last = -1;
  for (const ArrayComparison& c : run.arrays) layers += c.layer >= 0 && std::exchange(last, c.layer) != c.layer;
  return layers;
}

/// A number, or null where there is none to give: JSON has no infinity.
OrderedJson finite(double x) { return std::isfinite(x) ? OrderedJson(x) : OrderedJson(nullptr); }

OrderedJson object_of(const ArrayComparison& c) {
  OrderedJson json = {{"name", c.name},
                      {"sequence", c.sequence},
                      {"layer", c.layer < 0 ? OrderedJson(nullptr) : OrderedJson(c.layer)},
                      {"agrees", c.agrees},
                      {"difference", finite(c.difference)},
                      {"relative", finite(c.relative)},
                      {"budget", c.budget}};
  if (!c.agrees) json[c.row_kind] = c.row;
  if (!c.agrees) json["text"] = c.text;
  return json;
}

OrderedJson object_of(const ParityRun& run) {
  const ArrayComparison* first = run.first_deviation();
  return {{"switches", run.switches},
          {"agrees", run.agrees},
          {"difference", finite(run.difference)},
          {"relative", finite(run.relative)},
          {"first_deviation", first ? object_of(*first) : OrderedJson(nullptr)}};
}

}  // namespace

std::string integrity_text(const IntegrityReport& report) {
  std::string text = printable_lines(report.path) + '\n';
  text += row("checksums",
              report.has_checksums
                  ? fmt::format("{} hashed, {}", plural(report.files_hashed, "file"), bytes_text(report.bytes_hashed))
                  : std::string("none: no SHA256SUMS here (kl verify --write-sums makes it)"));
  text += row("tensors", fmt::format("{} looked at, {}", grouped(report.tensors), bytes_text(report.bytes_scanned)));
  for (const std::string& note : report.notes) text += row("note", note);
  const std::size_t shown = std::min(report.findings.size(), kMostLines);
  for (std::size_t i = 0; i < shown; ++i) {
    const Finding& f = report.findings[i];
    text += row(f.is_problem ? "PROBLEM" : "SUSPICIOUS", line_of(f));
  }
  if (shown < report.findings.size())
    text += row("...", fmt::format("{} more (--json has all)",
                                   grouped(static_cast<std::int64_t>(report.findings.size() - shown))));
  if (report.findings.empty()) text += row("problems", "none");
  return text;
}

std::string integrity_json(const IntegrityReport& report) {
  OrderedJson findings = OrderedJson::array();
  for (const Finding& f : report.findings) {
    findings.push_back({{"rule", name_of(f.rule)},
                        {"problem", f.is_problem},
                        {"file", f.file},
                        {"tensor", f.tensor},
                        {"text", f.text}});
  }
  return to_line(OrderedJson{{"path", report.path},
                             {"checksums", report.has_checksums},
                             {"files_hashed", report.files_hashed},
                             {"bytes_hashed", report.bytes_hashed},
                             {"tensors", report.tensors},
                             {"bytes_scanned", report.bytes_scanned},
                             {"findings", findings},
                             {"notes", report.notes}});
}

std::string parity_text(const std::string& model, const ParityReport& report) {
  const ParityRun& asked = report.runs.front();
  std::string text = fmt::format("{} beside {}\n", printable_lines(model), printable_lines(report.dump));
  text += row("dump", fmt::format("{} in {}; logits and {} arrays of {}", plural(report.tokens, "token"),
                                  plural(report.sequences, "sequence"),
                                  std::count_if(asked.arrays.begin(), asked.arrays.end(),
                                                [](const ArrayComparison& c) { return c.layer >= 0; }),
                                  plural(num_layers(asked), "layer")));
  if (!report.ignored.empty()) text += row("ignored", fmt::format("{}", fmt::join(report.ignored, ", ")));
  text += row("budget", report.budget_reason);
  if (const ArrayComparison* first = asked.first_deviation()) {
    text += row("DIFFERS", "first in " + deviation_text(*first));
    if (first->layer >= 0) text += row("logits", agreement_text(asked));
  }
  for (std::size_t r = 1; r < report.runs.size() && report.answer != 0; ++r) {
    const ParityRun& run = report.runs[r];
    const ArrayComparison* first = run.first_deviation();
    text += row("tried", flags_text(run) + (first ? ": differs first in " + deviation_text(*first) : ": agrees"));
  }
  if (report.answer >= 0) {
    const ParityRun& run = report.runs[static_cast<std::size_t>(report.answer)];
    text += row("agrees", (run.switches.empty() ? "" : "with " + flags_text(run) + ": ") + agreement_text(run));
  } else {
    text += row("NO ANSWER", "no switch, alone or with others, explains the difference");
  }
  if (!report.hint.empty()) text += row("note", report.hint);
  return text;
}

std::string parity_json(const std::string& model, const ParityReport& report) {
  OrderedJson runs = OrderedJson::array(), arrays = OrderedJson::array();
  for (const ParityRun& run : report.runs) runs.push_back(object_of(run));
  const std::size_t shown = report.answer < 0 ? 0 : static_cast<std::size_t>(report.answer);
  for (const ArrayComparison& c : report.runs[shown].arrays) arrays.push_back(object_of(c));
  return to_line(OrderedJson{{"path", model},
                             {"dump", report.dump},
                             {"precision", report.precision == Precision::kBf16 ? "bf16" : "f32"},
                             {"budget_reason", report.budget_reason},
                             {"sequences", report.sequences},
                             {"tokens", report.tokens},
                             {"ignored", report.ignored},
                             {"agrees", report.answer >= 0},
                             {"switches", report.runs[shown].switches},
                             {"difference", finite(report.runs[shown].difference)},
                             {"first_deviation", object_of(report.runs.front())["first_deviation"]},
                             {"arrays", arrays},
                             {"runs", runs},
                             {"hint", report.hint}});
}

}  // namespace kl::cli
