#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/printable.h"
#include "gguf/gguf_header.h"

namespace kl {
namespace {

/// The little-endian number at the start of `bytes`.
template <class T>
T load(std::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

std::optional<std::int64_t> integer_at(GgufType type, std::string_view bytes) {
  switch (type) {
    case GgufType::kU8:
      return load<std::uint8_t>(bytes);
    case GgufType::kI8:
      return load<std::int8_t>(bytes);
    case GgufType::kU16:
      return load<std::uint16_t>(bytes);
    case GgufType::kI16:
      return load<std::int16_t>(bytes);
    case GgufType::kU32:
      return load<std::uint32_t>(bytes);
    case GgufType::kI32:
      return load<std::int32_t>(bytes);
    case GgufType::kI64:
      return load<std::int64_t>(bytes);
    case GgufType::kU64: {
      const auto value = load<std::uint64_t>(bytes);
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return {};
      return static_cast<std::int64_t>(value);
    }
    default:
      return {};
  }
}

const char* name_of(GgufType type) {
  constexpr const char* kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                    "bool", "string", "array", "u64", "i64", "f64"};
  return kNames[static_cast<std::uint32_t>(type)];
}

}  // namespace

std::optional<std::int64_t> GgufValue::integer() const { return integer_at(type, bytes); }

std::optional<double> GgufValue::number() const {
  if (const auto whole = integer()) return static_cast<double>(*whole);
  double value = 0;
  if (type == GgufType::kF32) {
    value = static_cast<double>(load<float>(bytes));
  } else if (type == GgufType::kF64) {
    value = load<double>(bytes);
  } else {
    return {};
  }
  if (!std::isfinite(value)) return {};
  return value;
}

std::optional<bool> GgufValue::boolean() const {
  if (type != GgufType::kBool) return {};
  return bytes[0] != 0;
}

std::optional<std::string_view> GgufValue::text() const {
  if (type != GgufType::kString) return {};
  return bytes;
}

std::optional<std::vector<std::int64_t>> GgufValue::integers() const {
  if (type != GgufType::kArray) return {};
  std::vector<std::int64_t> values;
  const std::size_t size = count == 0 ? 1 : bytes.size() / count;
  for (std::size_t at = 0; at < bytes.size(); at += size) {
    const auto value = integer_at(element, bytes.substr(at));
    if (!value) return {};
    values.push_back(*value);
  }
  return values;
}

std::optional<std::vector<std::string_view>> GgufValue::texts() const {
  if (type != GgufType::kArray || element != GgufType::kString) return {};
  std::vector<std::string_view> values;
  for (std::size_t at = 0; at < bytes.size();) {
    const auto length = static_cast<std::size_t>(load<std::uint64_t>(bytes.substr(at)));
    values.push_back(bytes.substr(at + 8, length));
    at += 8 + length;
  }
  return values;
}

std::string GgufValue::describe() const {
  if (type == GgufType::kString) return '"' + printable(bytes, 60) + '"';
  if (type == GgufType::kArray) return fmt::format("an array of {} {}", count, name_of(element));
  if (type == GgufType::kBool) return bytes[0] != 0 ? "true" : "false";
  if (type == GgufType::kF32) return fmt::format("{}", load<float>(bytes));
  if (type == GgufType::kF64) return fmt::format("{}", load<double>(bytes));
  if (const auto whole = integer()) return std::to_string(*whole);
  return std::to_string(load<std::uint64_t>(bytes));
}

}  // namespace kl
