#pragma once
#include <cstdint>

namespace kl {

/// 2^64 divided by the golden ratio, odd: multiples of it are spread evenly over 64 bits.
inline constexpr std::uint64_t kGoldenRatio64 = 0x9e3779b97f4a7c15u;

/// SplitMix64 (Steele, Lea, Flood 2014), its mixing step: every bit of x changes half of the result's.
/// Draw number i of the generator is splitmix64(seed + i kGoldenRatio64).
constexpr std::uint64_t splitmix64(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace kl
