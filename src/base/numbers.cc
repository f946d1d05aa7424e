#include "base/numbers.h"

#include <iterator>

namespace kl {
namespace {

struct Named {
  std::string_view name;
  std::size_t bytes;
};

/// In the order of NumberType.
constexpr Named kTypes[] = {{"F64", 8},     {"F32", 4},     {"F16", 2}, {"BF16", 2}, {"F8_E4M3", 1},
                            {"F8_E5M2", 1}, {"F8_E8M0", 1}, {"I64", 8}, {"I32", 4},  {"I16", 2},
                            {"I8", 1},      {"U32", 4},     {"U16", 2}, {"U8", 1}};

/// out = convert(elements of type Stored).
template <class Stored, class T, class Convert>
void read_as(const std::byte* data, std::size_t n, T* out, Convert convert) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    Stored element;
    std::memcpy(&element, data + i * sizeof(Stored), sizeof(Stored));
    out[i] = static_cast<T>(convert(element));
  }
}

}  // namespace

std::optional<NumberType> parse_number_type(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kTypes); ++i) {
    if (kTypes[i].name == name) return static_cast<NumberType>(i);
  }
  return {};
}

std::size_t size_of(NumberType type) { return kTypes[static_cast<std::size_t>(type)].bytes; }

template <class T>
void read_numbers(NumberType type, const std::byte* data, std::size_t n, T* out) noexcept {
  const auto same = [](auto x) { return x; };
  switch (type) {
    case NumberType::kF64:
      return read_as<double>(data, n, out, same);
    case NumberType::kF32:
      return read_as<float>(data, n, out, same);
    case NumberType::kF16:
      return read_as<std::uint16_t>(data, n, out, f16_to_f32);
    case NumberType::kBF16:
      return read_as<std::uint16_t>(data, n, out, bf16_to_f32);
    case NumberType::kF8E4M3:
      return read_as<std::uint8_t>(data, n, out, e4m3_to_f32);
    case NumberType::kF8E5M2:
      return read_as<std::uint8_t>(data, n, out, e5m2_to_f32);
    case NumberType::kF8E8M0:
      return read_as<std::uint8_t>(data, n, out, e8m0_to_f32);
    case NumberType::kI64:
      return read_as<std::int64_t>(data, n, out, same);
    case NumberType::kI32:
      return read_as<std::int32_t>(data, n, out, same);
    case NumberType::kI16:
      return read_as<std::int16_t>(data, n, out, same);
    case NumberType::kI8:
      return read_as<std::int8_t>(data, n, out, same);
    case NumberType::kU32:
      return read_as<std::uint32_t>(data, n, out, same);
    case NumberType::kU16:
      return read_as<std::uint16_t>(data, n, out, same);
    case NumberType::kU8:
      return read_as<std::uint8_t>(data, n, out, same);
  }
}

template void read_numbers(NumberType, const std::byte*, std::size_t, float*) noexcept;
template void read_numbers(NumberType, const std::byte*, std::size_t, double*) noexcept;
template void read_numbers(NumberType, const std::byte*, std::size_t, std::int64_t*) noexcept;

}  // namespace kl
