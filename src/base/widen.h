#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/dtype.h"

namespace kl {

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

}  // namespace kl
