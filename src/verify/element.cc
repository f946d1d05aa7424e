#include "verify/element.h"

#include <cstring>

#include "base/dtype.h"

namespace kl {
namespace {

/// out = convert(elements of type T); the data may be unaligned.
template <class T, class Convert>
void read_as(const std::byte* data, std::int64_t first, std::span<double> out, Convert convert) noexcept {
  data += static_cast<std::size_t>(first) * sizeof(T);
  for (double& x : out) {
    T element;
    std::memcpy(&element, data, sizeof(T));
    x = static_cast<double>(convert(element));
    data += sizeof(T);
  }
}

}  // namespace

bool is_float_type(std::string_view dtype) {
  return dtype == "F64" || dtype == "F32" || dtype == "F16" || dtype == "BF16";
}

bool is_integer_type(std::string_view dtype) {
  for (const std::string_view type : {"I64", "I32", "I16", "I8", "U32", "U16", "U8"})
    if (dtype == type) return true;
  return false;
}

void read_elements(std::string_view dtype, const std::byte* data, std::int64_t first, std::span<double> out) noexcept {
  const auto same = [](auto x) { return x; };
  if (dtype == "F64") return read_as<double>(data, first, out, same);
  if (dtype == "F32") return read_as<float>(data, first, out, same);
  if (dtype == "F16") return read_as<std::uint16_t>(data, first, out, f16_to_f32);
  if (dtype == "BF16") return read_as<std::uint16_t>(data, first, out, bf16_to_f32);
  if (dtype == "I64") return read_as<std::int64_t>(data, first, out, same);
  if (dtype == "I32") return read_as<std::int32_t>(data, first, out, same);
  if (dtype == "I16") return read_as<std::int16_t>(data, first, out, same);
  if (dtype == "I8") return read_as<std::int8_t>(data, first, out, same);
  if (dtype == "U32") return read_as<std::uint32_t>(data, first, out, same);
  if (dtype == "U16") return read_as<std::uint16_t>(data, first, out, same);
  return read_as<std::uint8_t>(data, first, out, same);
}

}  // namespace kl
