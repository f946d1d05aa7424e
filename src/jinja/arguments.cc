#include "jinja/arguments.h"

#include <fmt/format.h>

#include <algorithm>

#include "jinja/failure.h"
#include "jinja/operators.h"

namespace kl::jinja {

std::optional<Value> ArgumentReader::take(std::string_view name) {
  const auto named = std::find_if(arguments_.named.begin(), arguments_.named.end(),
                                  [&](const auto& argument) { return argument.first == name; });
  if (next_ < arguments_.positional.size()) {
    if (named != arguments_.named.end()) fail(fmt::format("{}: expected one value of {}, got two", function_, name));
    return arguments_.positional[next_++];
  }
  if (named == arguments_.named.end()) return std::nullopt;
  taken_.push_back(name);
  return named->second;
}

Value ArgumentReader::require(std::string_view name) {
  const auto value = take(name);
  if (!value) fail(fmt::format("{}: expected the argument {}, got none", function_, name));
  return *value;
}

bool ArgumentReader::take_bool(std::string_view name, bool otherwise) {
  const auto value = take(name);
  return value ? is_true(*value) : otherwise;
}

std::int64_t ArgumentReader::take_integer(std::string_view name, std::int64_t otherwise) {
  const auto value = take(name);
  if (!value) return otherwise;
  const auto integer = value->integer();
  if (!integer) fail(fmt::format("{}: {}: expected an integer, got {}", function_, name, value->type_name()));
  return *integer;
}

std::optional<TextPtr> ArgumentReader::take_text(std::string_view name) {
  const auto value = take(name);
  if (!value || value->is_none()) return std::nullopt;
  const auto* text = value->get<TextPtr>();
  if (text == nullptr) fail(fmt::format("{}: {}: expected a string, got {}", function_, name, value->type_name()));
  return *text;
}

Arguments ArgumentReader::rest() {
  Arguments left;
  left.positional.assign(arguments_.positional.begin() + static_cast<std::ptrdiff_t>(next_),
                         arguments_.positional.end());
  next_ = arguments_.positional.size();
  for (const auto& argument : arguments_.named) {
    if (std::find(taken_.begin(), taken_.end(), argument.first) != taken_.end()) continue;
    left.named.push_back(argument);
    taken_.push_back(argument.first);
  }
  return left;
}

void ArgumentReader::finish() const {
  if (next_ < arguments_.positional.size()) {
    fail(fmt::format("{}: expected {} arguments, got {}", function_, next_, arguments_.positional.size()));
  }
  for (const auto& [name, value] : arguments_.named) {
    if (std::find(taken_.begin(), taken_.end(), name) != taken_.end()) continue;
    fail(fmt::format("{}: expected arguments it knows, got {}", function_, name));
  }
}

}  // namespace kl::jinja
