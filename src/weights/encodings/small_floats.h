#pragma once
// Floats of 4 and 8 bits, as the OCP microscaling formats and FP8 define them.
#include <bit>
#include <cstdint>

namespace kl {

/// E2M1 doubled, so that it is an integer: 0, 1, 2, 3, 4, 6, 8, 12 and their negatives.  Bit 3 is the sign; there is one zero.
constexpr int twice_e2m1(unsigned code) {
  constexpr int kMagnitude[] = {0, 1, 2, 3, 4, 6, 8, 12};
  return (code & 8u) != 0 ? -kMagnitude[code & 7u] : kMagnitude[code & 7u];
}

/// E4M3 without infinities: 1 sign, 4 exponent (bias 7), 3 fraction bits; 0x7f and 0xff are NaN, the largest is 448.
constexpr float e4m3_to_f32(std::uint8_t code) {
  const auto sign = std::uint32_t{code & 0x80u} << 24;
  const std::uint32_t magnitude = code & 0x7fu;
  if (magnitude == 0x7fu) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (magnitude < 8) return (sign != 0 ? -0x1p-9f : 0x1p-9f) * static_cast<float>(magnitude);
  return std::bit_cast<float>(sign | ((magnitude << 20) + (120u << 23)));
}

/// E8M0: 2^(code - 127); 255 is NaN.
constexpr float e8m0_to_f32(std::uint8_t code) {
  if (code == 255) return std::bit_cast<float>(0x7fc00000u);
  return code == 0 ? 0x1p-127f : std::bit_cast<float>(std::uint32_t{code} << 23);
}

}  // namespace kl
