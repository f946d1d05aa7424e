#include "server/api/fields.h"

#include <fmt/format.h>

#include <cassert>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "server/exchange/api_error.h"

namespace kl {
namespace {

Types types_of(const OrderedJson& value) {
  if (value.is_boolean()) return kBoolean;
  if (value.is_number_integer()) return kInteger | kNumber;
  if (value.is_number()) return kNumber;
  if (value.is_string()) return kString;
  return value.is_array() ? kArray : kObject;
}

/// "a number from 0 to 2", "one of auto, none, required, or an object"
std::string expectation(const Parameter& row) {
  const auto range = [&row](const char* what) -> std::string {
    if (std::isinf(row.min)) return what;
    return fmt::format("{} from {:.17g} to {:.17g}", what, row.min, row.max);
  };
  std::vector<std::string> kinds;
  if (row.types & kBoolean) kinds.emplace_back("true or false");
  if (row.types & kNumber) kinds.push_back(range("a number"));
  if (row.types & kInteger) kinds.push_back(range("an integer"));
  if (row.types & kString && row.one_of.empty()) kinds.emplace_back("a string");
  if (row.types & kString && !row.one_of.empty()) {
    std::string words;
    for (const char c : row.one_of) words += c == '|' ? std::string(", ") : std::string(1, c);
    kinds.push_back((row.one_of.find('|') == std::string_view::npos ? "\"" : "one of ") + words +
                    (row.one_of.find('|') == std::string_view::npos ? "\"" : ""));
  }
  if (row.types & kArray) kinds.emplace_back("an array");
  if (row.types & kObject) kinds.emplace_back("an object");
  std::string text;
  for (std::size_t i = 0; i < kinds.size(); ++i)
    text += (i == 0 ? "" : i + 1 == kinds.size() ? " or " : ", ") + kinds[i];
  return text;
}

bool is_one_of(std::string_view words, std::string_view word) {
  while (true) {
    const std::size_t bar = words.find('|');
    if (words.substr(0, bar) == word) return true;
    if (bar == std::string_view::npos) return false;
    words.remove_prefix(bar + 1);
  }
}

/// Is a value of a right type also in range?
bool in_range(const Parameter& row, const OrderedJson& value) {
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > std::uint64_t{INT64_MAX}) return false;
  if (value.is_number()) return value.get<double>() >= row.min && value.get<double>() <= row.max;
  if (value.is_string() && !row.one_of.empty()) return is_one_of(row.one_of, value.get_ref<const std::string&>());
  return true;
}

bool is_empty(const OrderedJson& value) {
  return value.is_boolean()  ? !value.get<bool>()
         : value.is_string() ? value.get_ref<const std::string&>().empty()
                             : value.is_structured() && value.empty();
}

void check(const Parameter& row, const OrderedJson& value, const std::string& path) {
  if (!(types_of(value) & row.types) || !in_range(row, value)) {
    refuse_field(path, fmt::format("expected {}, got {}", expectation(row), describe(value)));
  }
  if (row.refused && !is_empty(value)) refuse_field(path, "is not supported. " + std::string(row.description));
  if (!value.is_string() && !value.is_structured()) return;
  // A list of strings may also be one string, whose size is not that of the list.
  if (value.is_string() && row.types & kArray) return;
  const std::size_t size = value.is_string() ? value.get_ref<const std::string&>().size() : value.size();
  if (size >= row.min_size && size <= row.max_size) return;
  const char* unit = value.is_string() ? "bytes" : value.is_array() ? "elements" : "members";
  const bool few = size < row.min_size;
  refuse_field(path, fmt::format("expected {} {} {}, got {}", few ? "at least" : "at most",
                                 few ? row.min_size : row.max_size, unit, size));
}

}  // namespace

void refuse_field(const std::string& path, const std::string& what) {
  throw ApiError{.message = fmt::format("{}: {}", path.empty() ? "body" : path, what), .param = path};
}

Fields::Fields(const OrderedJson& object, Body body, std::string path, bool strict)
    : object_(&object), body_(body), path_(std::move(path)), strict_(strict) {
  if (!object.is_object()) refuse_field(path_, "expected an object, got " + describe(object));
  for (const auto& [name, value] : object.get_ref<const OrderedJson::object_t&>()) {
    const Parameter* row = find_parameter(body, name);
    if (!row && strict)
      refuse_field(path_of(printable(name, 64)), "expected a known field (the server runs with --strict)");
    if (row && !value.is_null()) check(*row, value, path_of(name));
  }
  for (const Parameter& row : parameters()) {
    if (row.required && contains(row.in, body) && !find(row.name)) {
      refuse_field(path_of(row.name), "expected " + expectation(row) + ", got nothing");
    }
  }
}

const OrderedJson* Fields::find(std::string_view name) const {
  assert(knows(name) && "every field that is read has a row in the table");
  const auto found = object_->find(name);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

OrderedJson Fields::value_or_fallback(std::string_view name) const {
  if (const OrderedJson* value = find(name)) return *value;
  const std::string_view fallback = find_parameter(body_, name)->fallback;
  return fallback.empty() ? OrderedJson() : OrderedJson::parse(fallback);
}

std::optional<bool> Fields::boolean(std::string_view name) const {
  const OrderedJson value = value_or_fallback(name);
  return value.is_boolean() ? std::optional(value.get<bool>()) : std::nullopt;
}

std::optional<std::int64_t> Fields::integer(std::string_view name) const {
  const OrderedJson value = value_or_fallback(name);
  return value.is_number_integer() ? std::optional(value.get<std::int64_t>()) : std::nullopt;
}

std::optional<double> Fields::number(std::string_view name) const {
  const OrderedJson value = value_or_fallback(name);
  return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
}

std::optional<std::string> Fields::text(std::string_view name) const {
  const OrderedJson value = value_or_fallback(name);
  return value.is_string() ? std::optional(value.get<std::string>()) : std::nullopt;
}

std::optional<Fields> Fields::object(std::string_view name, Body body) const {
  const OrderedJson* value = find(name);
  if (!value) return std::nullopt;
  return Fields(*value, body, path_of(name), strict_);
}

std::string Fields::path_of(std::string_view name) const {
  return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

void Fields::refuse(std::string_view name, const std::string& what) const { refuse_field(path_of(name), what); }

}  // namespace kl
