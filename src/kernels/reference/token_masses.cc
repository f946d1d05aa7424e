#include <bit>

#include "kernels/reference/ops.h"

namespace kl::reference {
namespace {

/// floor(2^kMassBits exp(x)) for x <= 0.
///
/// exp(x) = 2^n exp(r) with |r| <= ln 2 / 2, where thirteen terms of the Taylor series are exact to a unit in the last
/// place of a double.  Only +, - and *, so every CPU gives the same bits (std::exp does not promise that).
std::uint64_t mass_of(double x) {
  constexpr double kLog2e = 1.4426950408889634;
  constexpr double kLn2High = 0.693147180369123816490;  // 33 bits, so that n * kLn2High is exact
  constexpr double kLn2Low = 1.90821492927058770002e-10;
  constexpr double kInverseFactorial[] = {
      1.0,        1.0,         1.0 / 2,      1.0 / 6,       1.0 / 24,       1.0 / 120,       1.0 / 720,
      1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
  if (!(x >= -(kMassBits + 1) * 0.6931471805599453)) return 0;
  const int n = static_cast<int>(x * kLog2e - 0.5);  // truncated towards zero: the nearest integer, as x <= 0
  const double r = (x - n * kLn2High) - n * kLn2Low;
  double series = kInverseFactorial[13];
  for (int i = 12; i >= 0; --i) series = series * r + kInverseFactorial[i];
  const double scale = std::bit_cast<double>(static_cast<std::int64_t>(1023 + kMassBits + n) << 52);
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(series * scale));
}

}  // namespace

void token_masses(const float* logits, std::ptrdiff_t n, float top, float temperature, std::uint64_t* masses) noexcept {
  for (std::ptrdiff_t i = 0; i < n; ++i) masses[i] = mass_of((double{logits[i]} - double{top}) / double{temperature});
}

}  // namespace kl::reference
