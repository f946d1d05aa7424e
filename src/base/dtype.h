#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>

namespace kl {

/// Element types a weight tensor may have.  Packed weights have none: kernels/packed.h says how they lie.
enum class DType : std::uint8_t { kF32, kF16, kBF16, kPacked };

/// Bytes of one element; not for kPacked.
constexpr std::size_t size_of(DType t) { return t == DType::kF32 ? 4 : 2; }

/// As safetensors files spell it, but for kPacked.
constexpr const char* name_of(DType t) {
  return t == DType::kF32 ? "F32" : t == DType::kF16 ? "F16" : t == DType::kBF16 ? "BF16" : "packed";
}

/// bf16 is the upper half of an f32: widening is exact.
constexpr float bf16_to_f32(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

/// Round to nearest, ties to even; NaN stays NaN.
constexpr std::uint16_t f32_to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/// IEEE half precision widened exactly: 1 sign, 5 exponent (bias 15), 10 fraction bits.
constexpr float f16_to_f32(std::uint16_t h) {
  const std::uint32_t sign = std::uint32_t(h & 0x8000u) << 16;
  std::uint32_t exponent = (h >> 10) & 0x1fu, fraction = h & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);  // Inf, NaN
  if (exponent == 0) {                                                                     // zero, subnormal
    if (fraction == 0) return std::bit_cast<float>(sign);
    const int shift = std::countl_zero(fraction) - 21;  // brings the leading bit to bit 10
    fraction = (fraction << shift) & 0x3ffu;
    exponent = static_cast<std::uint32_t>(1 - shift);
  }
  return std::bit_cast<float>(sign | (exponent + 112u) << 23 | fraction << 13);
}

/// Round to nearest, ties to even; too large becomes infinity, NaN stays NaN.
constexpr std::uint16_t f32_to_f16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // rounds to 2^16 or above
  if (magnitude < 0x38800000u) {  // below 2^-14: a multiple of 2^-24, which adding 1/2 rounds to
    const auto shifted = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f);
    return static_cast<std::uint16_t>(sign | (shifted - 0x3f000000u));
  }
  const std::uint32_t rounded = magnitude + 0xfffu + (bits >> 13 & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

}  // namespace kl
