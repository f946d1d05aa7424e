#include "base/json_fields.h"

#include <fmt/format.h>

#include "base/printable.h"

namespace kl {

const Json* JsonFields::find(Names names) {
  const Json* found = nullptr;
  std::string_view found_name;
  for (const std::string_view name : names) {
    read_.insert(name);
    const auto it = object_.find(name);
    if (it == object_.end() || it->second.is_null()) continue;
    if (!found) {
      found = &it->second;
      found_name = name;
    } else if (found->describe() != it->second.describe()) {
      report(found_name, fmt::format("is {}, but {}{} is {}", found->describe(), prefix_, name, it->second.describe()));
    }
  }
  return found;
}

bool JsonFields::read(Names names, std::int64_t min, std::int64_t max, std::int64_t& value) {
  const Json* json = find(names);
  if (!json) return false;
  const auto integer = json->integer();
  if (!integer || *integer < min || *integer > max) {
    report(*names.begin(), fmt::format("expected an integer from {} to {}, got {}", min, max, json->describe()));
    return false;
  }
  value = *integer;
  return true;
}

bool JsonFields::read(Names names, int min, int max, int& value) {
  std::int64_t wide = value;
  const bool is_read = read(names, std::int64_t{min}, std::int64_t{max}, wide);
  value = static_cast<int>(wide);
  return is_read;
}

bool JsonFields::read(Names names, bool& value) {
  const Json* json = find(names);
  if (!json) return false;
  if (!json->boolean()) {
    report(*names.begin(), "expected true or false, got " + json->describe());
    return false;
  }
  value = *json->boolean();
  return true;
}

bool JsonFields::read(Names names, std::string& value) {
  const Json* json = find(names);
  if (!json) return false;
  if (!json->string()) {
    report(*names.begin(), "expected a string, got " + json->describe());
    return false;
  }
  value = *json->string();
  return true;
}

bool JsonFields::read_number(Names names, double above, double max, float& value) {
  const Json* json = find(names);
  if (!json) return false;
  const auto number = json->number();
  if (!number || !(*number > above) || !(*number <= max) || !(static_cast<float>(*number) > above)) {
    report(*names.begin(), fmt::format("expected a number above {} up to {}, got {}", above, max, json->describe()));
    return false;
  }
  value = static_cast<float>(*number);
  return true;
}

template <class T, class Get>
bool JsonFields::read_elements(std::string_view name, const Json& json, const char* what, Get get,
                               std::vector<T>& values) {
  std::vector<T> out;
  bool is_sound = json.array() != nullptr;
  if (is_sound) {
    for (const Json& element : *json.array()) {
      const auto value = (element.*get)();
      if (value) out.push_back(*value);
      is_sound = is_sound && value;
    }
  }
  if (is_sound) {
    values = std::move(out);
  } else {
    report(name, fmt::format("expected a list of {}, got {}", what, json.describe()));
  }
  return is_sound;
}

bool JsonFields::read_list(Names names, std::vector<std::int64_t>& values) {
  const Json* json = find(names);
  if (!json) return false;
  if (const auto single = json->integer()) {
    values = {*single};
    return true;
  }
  return read_elements(*names.begin(), *json, "integers", &Json::integer, values);
}

bool JsonFields::read_list(Names names, std::vector<std::string>& values) {
  const Json* json = find(names);
  return json && read_elements(*names.begin(), *json, "strings", &Json::string, values);
}

void JsonFields::require(Names names, std::string_view why) {
  if (find(names)) return;
  report(*names.begin(), why.empty() ? "missing" : fmt::format("missing, needed by {}", why));
}

std::vector<std::string> JsonFields::unread() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : object_) {
    if (read_.count(name) == 0) names.push_back(prefix_ + printable(name));
  }
  return names;
}

}  // namespace kl
