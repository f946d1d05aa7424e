#pragma once
// Probabilities as integers.  A plain loop: the compiler makes vectors of it, and +, -, * and / give the same bits on
// every CPU.
#include "kernels/kernels.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

/// reference::mass_of() without branches.
inline std::uint64_t mass_of(double x) noexcept {
  constexpr double kLowest = -(kMassBits + 1) * 0.6931471805599453, kWhole = 4503599627370496.0;  // 2^52: no fractions
  const std::uint64_t possible = -static_cast<std::uint64_t>(x >= kLowest);                       // all bits or none
  const double y = __builtin_bit_cast(double, __builtin_bit_cast(std::uint64_t, x) & possible);
  const auto n = static_cast<std::int32_t>(y * 1.4426950408889634 - 0.5);
  const double r = (y - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  double series = 1.0 / 6227020800;
  series = series * r + 1.0 / 479001600;
  series = series * r + 1.0 / 39916800;
  series = series * r + 1.0 / 3628800;
  series = series * r + 1.0 / 362880;
  series = series * r + 1.0 / 40320;
  series = series * r + 1.0 / 5040;
  series = series * r + 1.0 / 720;
  series = series * r + 1.0 / 120;
  series = series * r + 1.0 / 24;
  series = series * r + 1.0 / 6;
  series = series * r + 1.0 / 2;
  series = series * r + 1.0;
  series = series * r + 1.0;
  const double mass = series * __builtin_bit_cast(double, static_cast<std::int64_t>(1023 + kMassBits + n) << 52);
  const double nearest = (mass + kWhole) - kWhole;
  const double floor = nearest - static_cast<double>(nearest > mass);
  return __builtin_bit_cast(std::uint64_t, floor + kWhole) & 0xfffffffffffffu & possible;
}

/// TokenMassesFn.
inline void token_masses(const float* logits, std::ptrdiff_t n, float top, float temperature,
                         std::uint64_t* masses) noexcept {
  for (std::ptrdiff_t i = 0; i < n; ++i) masses[i] = mass_of((double{logits[i]} - double{top}) / double{temperature});
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
