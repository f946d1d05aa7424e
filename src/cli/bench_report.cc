#include "cli/bench_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/json_text.h"
#include "cli/quantities.h"

namespace kl::cli {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr double kMiB = 1024 * 1024;

const char* name_of(Arithmetic kind) {
  switch (kind) {
    case Arithmetic::kFma:
      return "fma";
    case Arithmetic::kInt8:
      return "int8";
    case Arithmetic::kBf16Dot:
      break;
  }
  return "bf16_dot";
}

/// Calls f(kind, its name) for each.
template <class F>
void for_each_arithmetic(F&& f) {
  for (const Arithmetic kind : {Arithmetic::kFma, Arithmetic::kInt8, Arithmetic::kBf16Dot}) f(kind, name_of(kind));
}

double ops_of(const Cost& cost, Arithmetic kind) { return cost.ops[static_cast<std::size_t>(kind)]; }

double all_ops(const Cost& cost) {
  double sum = 0;
  for (const double ops : cost.ops) sum += ops;
  return sum;
}

/// Bytes, operations of each kind and the limit of a test or a part of it.
void add_cost(OrderedJson& json, const BenchResult& result, const Cost& cost) {
  json["bytes_per_token"] = result.per_token(cost.bytes);
  for_each_arithmetic([&](Arithmetic kind, const char* name) {
    json[fmt::format("{}_ops_per_token", name)] = result.per_token(ops_of(cost, kind));
  });
}

OrderedJson list_of_parts(const BenchResult& result, const MachineLimits& limits) {
  const double all = result.profile.total().seconds;
  OrderedJson parts = OrderedJson::array();
  for (std::size_t i = 0; i < kNumParts; ++i) {
    const Cost& cost = result.profile.parts[i];
    OrderedJson part = {{"part", name_of(static_cast<ModelPart>(i))},
                        {"seconds_per_token", result.per_token(cost.seconds)},
                        {"share", cost.seconds / all},
                        {"percent_of_limit", 100 * limits.seconds(cost) / cost.seconds}};
    add_cost(part, result, cost);
    parts.push_back(std::move(part));
  }
  parts.push_back({{"part", "barriers"},
                   {"seconds_per_token", *result.scheduling},
                   {"share", *result.scheduling / result.per_token(all)}});
  return parts;
}

OrderedJson limits_object(const MachineLimits& limits) {
  OrderedJson json = {{"threads", limits.threads},
                      {"isa", limits.isa},
                      {"read_bytes_per_second", limits.read_bytes_per_second},
                      {"read_over_bytes", limits.memory_read}};
  for_each_arithmetic(
      [&](Arithmetic kind, const char* name) { json[fmt::format("{}_ops_per_second", name)] = limits.peak(kind); });
  json["instructions"] = OrderedJson::array();
  for (const MachineLimits::Peak& p : limits.peaks)
    json["instructions"].push_back({{"isa", p.isa},
                                    {"instruction", p.instruction},
                                    {"kind", name_of(p.arithmetic)},
                                    {"ops_per_second", p.ops_per_second}});
  return json;
}

}  // namespace

std::string markdown_head(const BenchReport& report) {
  const MachineLimits& limits = report.limits;
  std::string text = fmt::format("{}: {} in files, opened in {:.2f} s; {} kernels, {} thread{}\n\n", report.model,
                                 bytes_text(static_cast<std::int64_t>(report.file_bytes)), report.load_seconds,
                                 limits.isa, limits.threads, limits.threads == 1 ? "" : "s");
  text += fmt::format("limits: read {:.1f} GB/s (over {})", limits.read_bytes_per_second / 1e9,
                      bytes_text(static_cast<std::int64_t>(limits.memory_read)));
  for (const MachineLimits::Peak& p : limits.peaks)
    text += fmt::format("; {} {:.0f} Gop/s", p.instruction, p.ops_per_second / 1e9);
  text +=
      "\n\n| test | median tok/s | best | n | % of limit | limit tok/s | MB/token | Gop/token |\n"
      "|---|--:|--:|--:|--:|--:|--:|--:|\n";
  return text;
}

std::string markdown_row(const BenchResult& result) {
  const Cost total = result.profile.total();
  return fmt::format("| {} | {:.2f} | {:.2f} | {} | {:.1f} | {:.2f} | {:.1f} | {:.3f} |\n", result.test,
                     result.median(), result.best(), result.runs.size(), result.percent_of_limit(), result.limit,
                     result.per_token(total.bytes) / 1e6, result.per_token(all_ops(total)) / 1e9);
}

std::string markdown_breakdown(const BenchResult& result, const MachineLimits& limits) {
  std::string text = fmt::format(
      "\n{}:\n\n| part | ms/token | share % | % of limit | MB/token | Gop/token |\n|---|--:|--:|--:|--:|--:|\n",
      result.test);
  const double all = result.profile.total().seconds;
  for (std::size_t i = 0; i < kNumParts; ++i) {
    const Cost& cost = result.profile.parts[i];
    if (cost.seconds == 0) continue;
    text += fmt::format("| {} | {:.3f} | {:.1f} | {:.1f} | {:.2f} | {:.4f} |\n", name_of(static_cast<ModelPart>(i)),
                        1e3 * result.per_token(cost.seconds), 100 * cost.seconds / all,
                        100 * limits.seconds(cost) / cost.seconds, result.per_token(cost.bytes) / 1e6,
                        result.per_token(all_ops(cost)) / 1e9);
  }
  if (result.scheduling)
    text += fmt::format("| of these: barriers | {:.3f} | {:.1f} | | | |\n", 1e3 * *result.scheduling,
                        100 * *result.scheduling / result.per_token(all));
  return text;
}

std::string markdown_tail(const BenchReport& report) {
  return fmt::format("\nresident {:.0f} MiB, files {:.0f} MiB\n", static_cast<double>(report.resident_bytes) / kMiB,
                     static_cast<double>(report.file_bytes) / kMiB);
}

std::string bench_json(const BenchReport& report) {
  OrderedJson json = {{"engine", "kl"},
                      {"model", report.model},
                      {"threads", report.limits.threads},
                      {"limits", limits_object(report.limits)},
                      {"load_s", report.load_seconds},
                      {"rss_mib", static_cast<double>(report.resident_bytes) / kMiB},
                      {"file_mib", static_cast<double>(report.file_bytes) / kMiB},
                      {"results", OrderedJson::array()}};
  for (const BenchResult& result : report.results) {
    OrderedJson entry = {{"test", result.test},
                         {"median", result.median()},
                         {"best", result.best()},
                         {"runs", result.runs},
                         {"percent_of_limit", result.percent_of_limit()},
                         {"limit", result.limit}};
    add_cost(entry, result, result.profile.total());
    if (result.scheduling) entry["parts"] = list_of_parts(result, report.limits);
    json["results"].push_back(std::move(entry));
  }
  return to_line(json);
}

std::string bench_csv(const BenchReport& report) {
  std::string text = "test,median,best,runs,percent_of_limit,limit,bytes_per_token";
  for_each_arithmetic([&](Arithmetic, const char* name) { text += fmt::format(",{}_ops_per_token", name); });
  text += '\n';
  for (const BenchResult& result : report.results) {
    const Cost total = result.profile.total();
    text +=
        fmt::format("{},{},{},{},{},{},{}", result.test, result.median(), result.best(), fmt::join(result.runs, ";"),
                    result.percent_of_limit(), result.limit, result.per_token(total.bytes));
    for_each_arithmetic(
        [&](Arithmetic kind, const char*) { text += fmt::format(",{}", result.per_token(ops_of(total, kind))); });
    text += '\n';
  }
  return text;
}

}  // namespace kl::cli
