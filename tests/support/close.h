#pragma once
// The one comparator of numerical tests.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>

namespace kl::test {

/// How far a result may be from the expected one: `eps_of_peak` x 2^-23 x the largest finite |expected| of the tensor.
/// All budgets and their reasons are in tests/numerics.h.
struct Budget {
  double eps_of_peak;
  const char* why;
};

inline double peak_of(std::span<const float> x) {
  double peak = 0;
  for (const float e : x) {
    if (std::isfinite(e)) peak = std::fmax(peak, std::fabs(e));
  }
  return peak;
}

/// |actual - expected|, infinite if one is NaN or an infinity and the other is not the same.
inline double error_of(float actual, float expected) {
  if (std::isnan(expected)) return std::isnan(actual) ? 0 : INFINITY;
  if (std::isinf(expected)) return actual == expected ? 0 : INFINITY;
  return std::isfinite(actual) ? std::fabs(double{actual} - double{expected}) : INFINITY;
}

/// Empty if every element is within the budget, NaN and infinities at the same positions; else a line naming the worst.
inline std::string why_not_close(std::span<const float> actual, std::span<const float> expected, const Budget& budget) {
  if (actual.size() != expected.size()) {
    return "expected " + std::to_string(expected.size()) + " elements, got " + std::to_string(actual.size());
  }
  const double peak = peak_of(expected), bound = budget.eps_of_peak * 0x1p-23 * peak;
  double worst = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double error = error_of(actual[i], expected[i]);
    if (error > worst) worst = error, at = i;
  }
  if (worst <= bound) return {};
  char line[300];
  std::snprintf(
      line, sizeof line, "[%zu]: expected %.9g, got %.9g: error %.3g = %.2f eps of peak %.3g, budget %.2f (%s)", at,
      double{expected[at]}, double{actual[at]}, worst, worst / peak * 0x1p23, peak, budget.eps_of_peak, budget.why);
  return line;
}

/// Empty if both hold the same bits (any NaN equals any NaN); else a line naming the first difference.
inline std::string why_not_same_bits(std::span<const float> actual, std::span<const float> expected) {
  if (actual.size() != expected.size()) {
    return "expected " + std::to_string(expected.size()) + " elements, got " + std::to_string(actual.size());
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::isnan(actual[i]) && std::isnan(expected[i])) continue;
    std::uint32_t a = 0, e = 0;
    std::memcpy(&a, &actual[i], sizeof a);
    std::memcpy(&e, &expected[i], sizeof e);
    if (a == e) continue;
    char line[160];
    std::snprintf(line, sizeof line, "[%zu]: expected %.9g (%08x), got %.9g (%08x)", i, double{expected[i]}, e,
                  double{actual[i]}, a);
    return line;
  }
  return {};
}

}  // namespace kl::test
