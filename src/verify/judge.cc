#include "verify/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace kl {
namespace {

constexpr double kF32Budget = 2.4e-5;
constexpr double kBf16Budget = 0.03;  // of one layer
constexpr double kBf16OtherExperts = 1.0 / 3;

double budget_of(const DumpArray& array, Precision precision, int num_layers) {
  if (array.kind == DumpKind::kRouterIds) return precision == Precision::kBf16 ? kBf16OtherExperts : 0;
  if (precision != Precision::kBf16) return kF32Budget;
  const int layers = array.layer < 0 ? num_layers : array.layer + 1;
  return kBf16Budget * std::sqrt(static_cast<double>(layers));
}

const char* row_kind_of(DumpKind kind) {
  return kind == DumpKind::kKdaState ? "head" : kind == DumpKind::kConvState ? "row" : "position";
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// "1, 5" of a row of the dump's router_ids.
std::string ids_text(std::set<std::int64_t> ids) { return fmt::format("{}", fmt::join(ids, ", ")); }

std::string ids_deviation(const MeasuredArray& m, std::int64_t row, double share) {
  const auto cols = static_cast<std::size_t>(m.array->cols), first = static_cast<std::size_t>(row) * cols;
  std::vector<double> theirs(cols);
  m.array->read_row(row, theirs);
  const auto begin = m.ids.begin() + static_cast<std::ptrdiff_t>(first);
  return fmt::format("the dump has experts {}, kl {}; so at {:.2g} % of the positions",
                     ids_text({theirs.begin(), theirs.end()}),
                     ids_text({begin, begin + static_cast<std::ptrdiff_t>(cols)}), 100 * share);
}

ArrayComparison compare(const MeasuredArray& m, const Dump& dump, Precision precision, int num_layers) {
  const DumpArray& array = *m.array;
  ArrayComparison c;
  c.name = array.name;
  c.sequence = array.sequence;
  c.layer = array.layer;
  c.row_kind = row_kind_of(array.kind);
  c.budget = budget_of(array, precision, num_layers);
  if (array.rows == 0) return c;
  c.difference = *std::max_element(m.differences.begin(), m.differences.end());
  const bool is_ids = array.kind == DumpKind::kRouterIds;
  std::vector<double> rows = is_ids ? m.differences : m.relative();
  const auto changed = std::count_if(rows.begin(), rows.end(), [](double d) { return d > 0; });
  if (is_ids) {
    c.relative = static_cast<double>(changed) / static_cast<double>(rows.size());
  } else {
    c.relative = precision == Precision::kBf16 ? median(rows) : *std::max_element(rows.begin(), rows.end());
  }
  c.agrees = c.relative <= c.budget;
  if (c.agrees) return c;
  const double limit = is_ids ? 0 : c.budget;
  const auto first = std::find_if(rows.begin(), rows.end(), [&](double d) { return d > limit; });
  const auto row = first - rows.begin();
  c.row = array.kind == DumpKind::kLogits
              ? dump.sequences[static_cast<std::size_t>(array.sequence)].positions[static_cast<std::size_t>(row)]
              : row;
  const auto at = static_cast<std::size_t>(row);
  c.text = is_ids ? ids_deviation(m, row, c.relative)
                  : fmt::format("difference {:.3g}, {:.2g} of the largest number, budget {:.2g}", m.differences[at],
                                rows[at], c.budget);
  return c;
}

}  // namespace

const char* budget_reason(Precision precision) {
  if (precision == Precision::kBf16) {
    return "bf16: the middle position within 3 % sqrt(layers) of its largest number, as transformers in bf16 was "
           "measured to "
           "be off f32 by up to 2 % sqrt(layers); other experts for at most a third of the positions";
  }
  return "f32: every position within 2.4e-5 of its largest number, twice what any f32 implementation is known to be "
         "off "
         "float64; the same experts";
}

ParityRun judge(const std::vector<MeasuredArray>& measured, const Dump& dump, Precision precision, int num_layers) {
  ParityRun run;
  run.agrees = true;
  for (const MeasuredArray& m : measured) {
    run.arrays.push_back(compare(m, dump, precision, num_layers));
    const ArrayComparison& c = run.arrays.back();
    run.agrees &= c.agrees;
    if (c.layer >= 0) continue;
    run.difference = std::max(run.difference, c.difference);
    run.relative = std::max(run.relative, c.relative);
  }
  return run;
}

const ArrayComparison* ParityRun::first_deviation() const {
  const auto it = std::find_if(arrays.begin(), arrays.end(), [](const ArrayComparison& c) { return !c.agrees; });
  return it == arrays.end() ? nullptr : &*it;
}

}  // namespace kl
