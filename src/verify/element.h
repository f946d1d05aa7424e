#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace kl {

/// Types of numbers a dump may have, as safetensors files spell them.
bool is_float_type(std::string_view dtype);    ///< F64, F32, F16, BF16
bool is_integer_type(std::string_view dtype);  ///< signed ones, and unsigned below 64 bits

/// Elements [first, first + out.size()) of an array of one of these types.   REQUIRES: such a type.
void read_elements(std::string_view dtype, const std::byte* data, std::int64_t first, std::span<double> out) noexcept;

}  // namespace kl
