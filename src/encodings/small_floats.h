#pragma once
// Floats of 4 and 8 bits, as the OCP microscaling formats and FP8 define them.
#include <array>
#include <bit>
#include <cstddef>
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

/// All of E4M3 and of doubled E2M1, for rows of them.
inline constexpr auto kE4m3 = [] {
  std::array<float, 256> values{};
  for (unsigned code = 0; code < 256; ++code) values[code] = e4m3_to_f32(static_cast<std::uint8_t>(code));
  return values;
}();
inline constexpr auto kTwiceE2m1 = [] {
  std::array<float, 16> values{};
  for (unsigned code = 0; code < 16; ++code) values[code] = static_cast<float>(twice_e2m1(code));
  return values;
}();

/// E2M1 codes, two a byte with the lower first, times half a scale.   Shapes  codes: [n / 2]   w: [n], n even.
inline void decode_e2m1(const std::byte* codes, std::int64_t n, float half_scale, float* w) noexcept {
  for (std::int64_t k = 0; k < n; k += 2) {
    const auto both = static_cast<unsigned>(codes[k / 2]);
    w[k] = kTwiceE2m1[both & 15u] * half_scale;
    w[k + 1] = kTwiceE2m1[both >> 4] * half_scale;
  }
}

/// E8M0: 2^(code - 127); 255 is NaN.
constexpr float e8m0_to_f32(std::uint8_t code) {
  if (code == 255) return std::bit_cast<float>(0x7fc00000u);
  return code == 0 ? 0x1p-127f : std::bit_cast<float>(std::uint32_t{code} << 23);
}

}  // namespace kl
