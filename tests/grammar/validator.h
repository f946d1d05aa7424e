#pragma once
// A JSON schema validator of our own, written from the specification and independent of the compiler it judges.
#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>

#include "grammar/characters.h"

namespace kl::test {

using OrderedJson = nlohmann::ordered_json;

class Validator {
 public:
  explicit Validator(const OrderedJson& root) : root_(root) {}

  bool valid(const OrderedJson& value) const { return valid(root_, value); }

 private:
  static bool is_whole(const OrderedJson& v) { return v.is_number() && std::floor(v.get<double>()) == v.get<double>(); }

  static bool has_type(const std::string& type, const OrderedJson& v) {
    if (type == "null") return v.is_null();
    if (type == "boolean") return v.is_boolean();
    if (type == "integer") return is_whole(v);
    if (type == "number") return v.is_number();
    if (type == "string") return v.is_string();
    if (type == "array") return v.is_array();
    return v.is_object();
  }

  static std::size_t characters(const std::string& s) {
    return static_cast<std::size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xC0) != 0x80; }));
  }

  /// By characters, not bytes.
  static bool found(const std::string& pattern, const std::string& text) {
    const auto wide = [](std::string_view utf8) {
      std::wstring result;
      while (!utf8.empty()) result += static_cast<wchar_t>(grammar::take_code_point(utf8));
      return result;
    };
    return std::regex_search(wide(text), std::wregex(wide(pattern)));
  }

  bool valid(const OrderedJson& schema, const OrderedJson& v) const {
    if (schema.is_boolean()) return schema.get<bool>();
    return type_fits(schema, v) && combined(schema, v) && number_fits(schema, v) && string_fits(schema, v) &&
           array_fits(schema, v) && object_fits(schema, v);
  }

  bool type_fits(const OrderedJson& s, const OrderedJson& v) const {
    if (s.contains("const") && s["const"] != v) return false;
    if (s.contains("enum") && std::find(s["enum"].begin(), s["enum"].end(), v) == s["enum"].end()) return false;
    if (!s.contains("type")) return true;
    if (s.value("nullable", false) && v.is_null()) return true;
    if (s["type"].is_string()) return has_type(s["type"], v);
    return std::any_of(s["type"].begin(), s["type"].end(), [&](const auto& t) { return has_type(t, v); });
  }

  bool combined(const OrderedJson& s, const OrderedJson& v) const {
    const auto fits = [&](const OrderedJson& one) { return valid(one, v); };
    if (s.contains("$ref")) {
      const auto target = s["$ref"].get<std::string>().substr(1);
      if (!valid(root_.at(nlohmann::json::json_pointer(target)), v)) return false;
    }
    if (s.contains("allOf") && !std::all_of(s["allOf"].begin(), s["allOf"].end(), fits)) return false;
    if (s.contains("anyOf") && std::none_of(s["anyOf"].begin(), s["anyOf"].end(), fits)) return false;
    return !s.contains("oneOf") || std::count_if(s["oneOf"].begin(), s["oneOf"].end(), fits) == 1;
  }

  bool number_fits(const OrderedJson& s, const OrderedJson& v) const {
    if (!v.is_number()) return true;
    const auto x = v.get<double>();
    if (s.contains("minimum") && x < s["minimum"].get<double>()) return false;
    if (s.contains("maximum") && x > s["maximum"].get<double>()) return false;
    if (s.contains("exclusiveMinimum") && x <= s["exclusiveMinimum"].get<double>()) return false;
    if (s.contains("exclusiveMaximum") && x >= s["exclusiveMaximum"].get<double>()) return false;
    return !s.contains("multipleOf") || v.get<std::int64_t>() % s["multipleOf"].get<std::int64_t>() == 0;
  }

  bool string_fits(const OrderedJson& s, const OrderedJson& v) const {
    if (!v.is_string()) return true;
    const auto text = v.get<std::string>();
    if (characters(text) < s.value("minLength", std::size_t{0})) return false;
    if (characters(text) > s.value("maxLength", std::size_t{1} << 40)) return false;
    return !s.contains("pattern") || found(s["pattern"], text);
  }

  bool array_fits(const OrderedJson& s, const OrderedJson& v) const {
    if (!v.is_array()) return true;
    if (v.size() < s.value("minItems", std::size_t{0})) return false;
    if (v.size() > s.value("maxItems", std::size_t{1} << 40)) return false;
    const OrderedJson first = s.value("prefixItems", OrderedJson::array());
    for (std::size_t i = 0; i < v.size(); ++i) {
      if (i < first.size() ? !valid(first[i], v[i]) : s.contains("items") && !valid(s["items"], v[i])) return false;
    }
    return true;
  }

  bool object_fits(const OrderedJson& s, const OrderedJson& v) const {
    if (!v.is_object()) return true;
    for (const auto& name : s.value("required", OrderedJson::array())) {
      if (!v.contains(name.get<std::string>())) return false;
    }
    if (v.size() < s.value("minProperties", std::size_t{0})) return false;
    if (v.size() > s.value("maxProperties", std::size_t{1} << 40)) return false;
    const OrderedJson patterns = s.value("patternProperties", OrderedJson::object());
    for (const auto& [name, value] : v.items()) {
      bool known = s.contains("properties") && s["properties"].contains(name);
      if (known && !valid(s["properties"][name], value)) return false;
      for (const auto& [pattern, schema] : patterns.items()) {
        if (!found(pattern, name)) continue;
        known = true;
        if (!valid(schema, value)) return false;
      }
      if (!known && s.contains("additionalProperties") && !valid(s["additionalProperties"], value)) return false;
    }
    return true;
  }

  const OrderedJson& root_;
};

}  // namespace kl::test
