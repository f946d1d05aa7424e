#include "cli/plan_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "base/memory_info.h"
#include "base/problems.h"
#include "cli/quantities.h"
#include "kl/tokenizer.h"

namespace kl::cli {

std::size_t program_bytes(const std::filesystem::path& model) {
  std::optional<Tokenizer> tokenizer;
  problem_of([&] { tokenizer.emplace(Tokenizer::open(model)); });  // what is wrong with it is told elsewhere
  return resident_bytes();
}

PlanReport plan_report(const MemoryPlan& model, std::int64_t ctx_size, int slots, std::size_t cache_bytes,
                       std::size_t program) {
  PlanReport report;
  const std::size_t free = available_bytes();
  report.available = free > 0 ? free + program : 0;
  report.plan = plan_serving(model, ctx_size, slots, cache_bytes);
  report.plan.program = program;
  if (cache_bytes == 0) report.plan.cache = default_cache_bytes(report.plan, report.available);
  if (report.available > 0 && report.plan.total() > report.available)
    report.advice = what_to_lower(model, report.plan, report.available);
  return report;
}

std::string table_of(const PlanReport& report) {
  const ServingPlan& p = report.plan;
  const auto row = [](std::string_view part, std::size_t bytes) {
    return fmt::format("  {:<12} {:<10} {:>20}\n", "plan", part, grouped(static_cast<std::int64_t>(bytes)));
  };
  std::string text = fmt::format("  {:<12} {} text{} of {} tokens, bytes:\n", "plan", p.slots, p.slots == 1 ? "" : "s",
                                 grouped(p.ctx_size));
  text += row("program", p.program) + row("weights", p.weights) + row("scratch", p.scratch) + row("states", p.states) +
          row("latents", p.latents) + row("cache", p.cache) + row("all", p.total());
  if (report.available == 0) return text;
  text += row("available", report.available);
  return text + fmt::format("  {:<12} {}\n", "plan", report.advice.empty() ? "fits" : "does not fit: " + report.advice);
}

std::string json_of(const PlanReport& report) {
  const ServingPlan& p = report.plan;
  nlohmann::ordered_json json = {{"ctx_size", p.ctx_size}, {"slots", p.slots},     {"program", p.program},
                                 {"weights", p.weights},   {"scratch", p.scratch}, {"states", p.states},
                                 {"latents", p.latents},   {"cache", p.cache},     {"total", p.total()},
                                 {"available", nullptr},   {"fits", nullptr},      {"advice", report.advice}};
  if (report.available > 0) {
    json["available"] = report.available;
    json["fits"] = report.advice.empty();
  }
  return json.dump();
}

}  // namespace kl::cli
