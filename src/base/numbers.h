#pragma once
// Numbers as files store them: single floats, integers, and floats of 4 and 8 bits.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/dtype.h"

namespace kl {

// --- floats of 4 and 8 bits, as the OCP microscaling formats and FP8 define them -------------------------------------

/// E2M1 doubled, so that it is an integer.  Bit 3 is the sign; there is one zero.
inline constexpr std::array<std::int8_t, 16> kTwiceE2m1 = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// E4M3 without infinities: 1 sign, 4 exponent (bias 7), 3 fraction bits; 0x7f and 0xff are NaN, the largest is 448.
constexpr float e4m3_to_f32(std::uint8_t code) {
  const auto sign = std::uint32_t{code & 0x80u} << 24;
  const std::uint32_t magnitude = code & 0x7fu;
  if (magnitude == 0x7fu) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (magnitude < 8) return (sign != 0 ? -0x1p-9f : 0x1p-9f) * static_cast<float>(magnitude);
  return std::bit_cast<float>(sign | ((magnitude << 20) + (120u << 23)));
}

/// All of E4M3, for rows of them.
inline constexpr auto kE4m3 = [] {
  std::array<float, 256> values{};
  for (unsigned code = 0; code < 256; ++code) values[code] = e4m3_to_f32(static_cast<std::uint8_t>(code));
  return values;
}();

/// E5M2 is the upper half of an f16.
constexpr float e5m2_to_f32(std::uint8_t code) { return f16_to_f32(static_cast<std::uint16_t>(code << 8)); }

/// E8M0: 2^(code - 127); 255 is NaN.
constexpr float e8m0_to_f32(std::uint8_t code) {
  if (code == 255) return std::bit_cast<float>(0x7fc00000u);
  return code == 0 ? 0x1p-127f : std::bit_cast<float>(std::uint32_t{code} << 23);
}

// --- single floats of weights ----------------------------------------------------------------------------------------

/// The element type a file calls `name`, if it is one of single floats.
inline std::optional<DType> parse_dtype(std::string_view name) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    if (name == name_of(type)) return type;
  }
  return {};
}

/// Element i of `data`, which need not be aligned, widened.
inline float widen(const std::byte* data, DType type, std::int64_t i) {
  float full = 0;
  if (type == DType::kF32) {
    std::memcpy(&full, data + 4 * i, 4);
    return full;
  }
  std::uint16_t half = 0;
  std::memcpy(&half, data + 2 * i, 2);
  return type == DType::kF16 ? f16_to_f32(half) : bf16_to_f32(half);
}

/// The other way: stores x as element i.  Numerics  rounded to nearest, ties to even.
inline void store(float x, DType type, std::int64_t i, std::byte* data) {
  if (type == DType::kF32) {
    std::memcpy(data + 4 * i, &x, 4);
  } else {
    const std::uint16_t half = type == DType::kBF16 ? f32_to_bf16(x) : f32_to_f16(x);
    std::memcpy(data + 2 * i, &half, 2);
  }
}

/// x as the type can hold it.
constexpr float rounded_to(float x, DType type) {
  if (type == DType::kBF16) return bf16_to_f32(f32_to_bf16(x));
  return type == DType::kF16 ? f16_to_f32(f32_to_f16(x)) : x;
}

// --- any numbers -----------------------------------------------------------------------------------------------------

/// What the elements of a tensor are: floats, floats of 8 bits, integers (but unsigned ones of 64 bits).
enum class NumberType : std::uint8_t {
  kF64,
  kF32,
  kF16,
  kBF16,
  kF8E4M3,
  kF8E5M2,
  kF8E8M0,
  kI64,
  kI32,
  kI16,
  kI8,
  kU32,
  kU16,
  kU8,
};

/// The type that safetensors files call `name`.
std::optional<NumberType> parse_number_type(std::string_view name);
/// The same numbers.  REQUIRES: not kPacked.
constexpr NumberType number_type(DType type) {
  return type == DType::kF32 ? NumberType::kF32 : type == DType::kF16 ? NumberType::kF16 : NumberType::kBF16;
}

std::size_t size_of(NumberType type);                                           ///< bytes
constexpr bool is_float(NumberType type) { return type <= NumberType::kBF16; }  ///< of 16 bits or more
constexpr bool is_integer(NumberType type) { return type >= NumberType::kI64; }

/// Converts n elements, at any alignment, to T: float, double or std::int64_t.
///
/// Shapes    data: [n] of `type`   out: [n].
/// Numerics  exact where T can hold the element, else rounded once; a float beyond T's range becomes infinite.
/// REQUIRES: an integer type if T is one.
template <class T>
void read_numbers(NumberType type, const std::byte* data, std::size_t n, T* out) noexcept;

}  // namespace kl
