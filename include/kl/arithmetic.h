#pragma once
#include <cstddef>
#include <cstdint>

namespace kl {

/// The kinds of multiply-add a CPU is fast at; each has a peak of its own.
enum class Arithmetic : std::uint8_t {
  kFma,      ///< f32 fused multiply-add
  kInt8,     ///< products of 8-bit integers summed in 32 bits (vpdpbusd and what stands in for it)
  kBf16Dot,  ///< products of bf16 pairs summed in f32 (vdpbf16ps)
};
inline constexpr std::size_t kNumArithmetics = 3;

}  // namespace kl
