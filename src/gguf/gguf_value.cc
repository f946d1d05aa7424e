#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "base/numbers.h"
#include "base/printable.h"
#include "gguf/gguf_header.h"

namespace kl {
namespace {

/// The numbers of a type; nothing for u64, which is read apart, and for what is no number.
std::optional<NumberType> number_type(GgufType type) {
  using enum NumberType;
  constexpr std::optional<NumberType> kTypes[] = {kU8, kI8, kU16, kI16, kU32, kI32, kF32, {}, {}, {}, {}, kI64, kF64};
  return kTypes[static_cast<std::uint32_t>(type)];
}

/// The number at the start of `bytes`.
template <class T>
T read(NumberType type, std::string_view bytes) {
  T value;
  read_numbers(type, reinterpret_cast<const std::byte*>(bytes.data()), 1, &value);
  return value;
}

std::uint64_t read_u64(std::string_view bytes) {
  std::uint64_t value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

std::optional<std::int64_t> integer_at(GgufType type, std::string_view bytes) {
  if (type == GgufType::kU64) {
    const auto value = static_cast<std::int64_t>(read_u64(bytes));
    return value < 0 ? std::nullopt : std::optional(value);
  }
  const auto number = number_type(type);
  return number && is_integer(*number) ? std::optional(read<std::int64_t>(*number, bytes)) : std::nullopt;
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
  const auto floating = number_type(type);
  if (!floating) return {};
  const auto value = read<double>(*floating, bytes);
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
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
    const auto length = static_cast<std::size_t>(read_u64(bytes.substr(at)));
    values.push_back(bytes.substr(at + 8, length));
    at += 8 + length;
  }
  return values;
}

std::string GgufValue::describe() const {
  if (type == GgufType::kString) return '"' + printable(bytes, 60) + '"';
  if (type == GgufType::kArray) return fmt::format("an array of {} {}", count, name_of(element));
  if (type == GgufType::kBool) return bytes[0] != 0 ? "true" : "false";
  if (type == GgufType::kF32) return fmt::format("{}", read<float>(NumberType::kF32, bytes));
  if (type == GgufType::kF64) return fmt::format("{}", read<double>(NumberType::kF64, bytes));
  if (const auto whole = integer()) return std::to_string(*whole);
  return std::to_string(read_u64(bytes));
}

}  // namespace kl
