#pragma once
// Random numbers that are the same on every machine and with every standard library.
#include <cmath>
#include <cstdint>
#include <vector>

#include "base/random.h"

namespace kl::test {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() { return splitmix64(state_ += kGoldenRatio64); }

  /// 0 <= x < n
  std::ptrdiff_t below(std::ptrdiff_t n) { return static_cast<std::ptrdiff_t>(bits() % static_cast<std::uint64_t>(n)); }

  /// Uniform in [low, high).
  double uniform(double low, double high) { return low + (high - low) * static_cast<double>(bits() >> 11) * 0x1p-53; }

  /// Standard normal (Box-Muller).
  double normal() {
    const double radius = std::sqrt(-2 * std::log(uniform(0x1p-53, 1)));
    return radius * std::cos(6.283185307179586 * uniform(0, 1));
  }

  std::vector<float> normals(std::ptrdiff_t n, double scale = 1) {
    std::vector<float> x(static_cast<std::size_t>(n));
    for (float& e : x) e = static_cast<float>(scale * normal());
    return x;
  }

  std::vector<float> uniforms(std::ptrdiff_t n, double low, double high) {
    std::vector<float> x(static_cast<std::size_t>(n));
    for (float& e : x) e = static_cast<float>(uniform(low, high));
    return x;
  }

 private:
  std::uint64_t state_;
};

}  // namespace kl::test
