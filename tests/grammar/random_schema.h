#pragma once
// Random schemas, and random values that satisfy them.
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/grammar/validator.h"
#include "tests/support/random.h"

namespace kl::test {

struct PatternExample {
  const char* pattern;
  std::vector<const char*> texts;
};
inline const std::vector<PatternExample>& pattern_examples() {
  static const std::vector<PatternExample> examples = {
      {"^[a-z]{2,5}$", {"ab", "hello"}},
      {"^[A-Z][a-z0-9_]*$", {"Q", "Romeo_1"}},
      {"^(yes|no)?$", {"yes", "no", ""}},
      {"^\\d{3}-\\d{2}$", {"123-45"}},
      {"a.c", {"abc", "xx a c yy"}},
      {"^#(?:[0-9a-f]{3}){1,2}$", {"#abc", "#a0b1c2"}},
      {"x+$", {"x", "yyxx"}},
      {"^[^\"]{1,4}$", {"a\\b", "\t\n"}},
  };
  return examples;
}

class RandomSchema {
 public:
  explicit RandomSchema(std::uint64_t seed) : random_(seed) {}

  OrderedJson schema() {
    OrderedJson root = one(3);
    root["$defs"] = {{"leaf", one(0)},
                     {"tree",
                      {{"type", "object"},
                       {"properties", {{"v", {{"type", "integer"}}}, {"next", {{"$ref", "#/$defs/tree"}}}}},
                       {"required", {"v"}}}}};
    return root;
  }

  /// A value that satisfies `schema`, whose references lead into `root`.
  OrderedJson value(const OrderedJson& root, const OrderedJson& s, int depth = 0) {
    if (s.contains("const")) return s["const"];
    if (s.contains("enum")) return s["enum"][pick(s["enum"].size())];
    if (s.contains("anyOf")) return value(root, s["anyOf"][pick(s["anyOf"].size())], depth);
    if (s.contains("oneOf")) return value(root, s["oneOf"][pick(s["oneOf"].size())], depth);
    if (s.contains("$ref")) {
      const auto pointer = s["$ref"].get<std::string>().substr(1);
      return value(root, root.at(nlohmann::json::json_pointer(pointer)), depth + 1);
    }
    if (s.contains("allOf")) {
      OrderedJson merged = OrderedJson::object();
      for (const auto& part : s["allOf"]) merged.update(part);
      return value(root, merged, depth);
    }
    if (!s.contains("type")) return pick(2) == 0 ? OrderedJson("any") : OrderedJson{{"k", {1, nullptr, "\u00e9"}}};
    const OrderedJson& types = s["type"];
    const auto type = (types.is_array() ? types[pick(types.size())] : types).get<std::string>();
    if (type == "null") return nullptr;
    if (type == "boolean") return pick(2) == 0;
    if (type == "integer") return whole(s);
    if (type == "number") return whole(s).get<double>() + 0.25;
    if (type == "string") return text(s);
    if (type == "array") return array(root, s, depth);
    return object(root, s, depth);
  }

 private:
  std::size_t pick(std::size_t n) { return static_cast<std::size_t>(random_.below(static_cast<std::ptrdiff_t>(n))); }
  bool chance(std::size_t n) { return pick(n) == 0; }

  OrderedJson one(int depth) {
    switch (pick(depth > 0 ? 12 : 6)) {
      case 0:
        return {{"type", "boolean"}};
      case 1:
        return {{"type", {"null", "integer"}}};
      case 2:
        return number_schema();
      case 3:
      case 4:
        return string_schema();
      case 5:
        return chance(2) ? OrderedJson{{"enum", {"red", 3, nullptr, {{"deep", {1, 2}}}, "a\"b\\c\n"}}}
                         : OrderedJson{{"const", "only \u00e9 this"}};
      case 6:
        return array_schema(depth - 1);
      case 7:
        return {{"anyOf", {one(depth - 1), one(depth - 1)}}};
      case 8:
        return {{"$ref", chance(2) ? "#/$defs/leaf" : "#/$defs/tree"}};
      case 9:
        return {{"allOf", {{{"type", "integer"}, {"minimum", -40}}, {{"maximum", 1200}}}}};
      default:
        return object_schema(depth - 1);
    }
  }

  OrderedJson number_schema() {
    OrderedJson s;
    const auto low = static_cast<std::int64_t>(pick(3000)) - 1500;
    s["type"] = chance(2) ? "integer" : "number";
    if (chance(2)) s["minimum"] = low;
    if (chance(2)) s["maximum"] = low + 2 + static_cast<std::int64_t>(pick(1000));
    if (s["type"] == "integer" && chance(3)) s["multipleOf"] = 1 + pick(2);
    return s;
  }

  OrderedJson string_schema() {
    OrderedJson s = {{"type", "string"}};
    if (chance(3)) {
      s["pattern"] = pattern_examples()[pick(pattern_examples().size())].pattern;
    } else {
      if (chance(2)) s["minLength"] = pick(4);
      if (chance(2)) s["maxLength"] = 4 + pick(30);
    }
    return s;
  }

  OrderedJson array_schema(int depth) {
    OrderedJson s = {{"type", "array"}};
    if (chance(4)) s["prefixItems"] = {one(depth), one(depth)};
    if (!chance(4)) s["items"] = one(depth);
    if (chance(2)) s["minItems"] = pick(4);
    if (chance(2)) s["maxItems"] = 3 + pick(3);
    return s;
  }

  OrderedJson object_schema(int depth) {
    OrderedJson s = {{"type", "object"}};
    const char* names[] = {"name", "names", "n", "quote\"d", "caf\u00e9", "na"};
    for (std::size_t i = 0; i < std::size(names); ++i) {
      if (!chance(2)) continue;
      s["properties"][names[i]] = one(depth);
      if (chance(2)) s["required"].push_back(names[i]);
    }
    if (chance(3)) s["additionalProperties"] = chance(2) ? OrderedJson(false) : one(depth);
    if (chance(6)) s["patternProperties"] = {{"^x_", one(depth)}};
    return s;
  }

  OrderedJson whole(const OrderedJson& s) {
    const std::int64_t step = s.value("multipleOf", std::int64_t{1});
    const std::int64_t low = s.value("minimum", s.value("maximum", std::int64_t{7}) - 5);
    return (low / step + (low > 0 || low % step != 0 ? 1 : 0)) * step;
  }

  OrderedJson text(const OrderedJson& s) {
    if (s.contains("pattern")) {
      for (const PatternExample& example : pattern_examples()) {
        if (s["pattern"] == example.pattern) return example.texts[pick(example.texts.size())];
      }
    }
    const char* letters[] = {"a", "\u00e9", "\U0001f600", "\"", "\\", "\n", "z", " "};
    std::string text;
    const std::size_t least = s.value("minLength", std::size_t{0});
    for (std::size_t n = least + pick(std::min<std::size_t>(s.value("maxLength", least + 9) - least, 9) + 1); n > 0;
         --n) {
      text += letters[pick(std::size(letters))];
    }
    return text;
  }

  OrderedJson array(const OrderedJson& root, const OrderedJson& s, int depth) {
    OrderedJson list = OrderedJson::array();
    const OrderedJson first = s.value("prefixItems", OrderedJson::array()), any = OrderedJson::object();
    const std::size_t least = s.value("minItems", std::size_t{0});
    const std::size_t n = std::min(least + pick(2), s.value("maxItems", least + 1));
    for (std::size_t i = 0; i < n; ++i) {
      list.push_back(value(root, i < first.size() ? first[i] : s.contains("items") ? s["items"] : any, depth + 1));
    }
    return list;
  }

  OrderedJson object(const OrderedJson& root, const OrderedJson& s, int depth) {
    OrderedJson result = OrderedJson::object();
    const OrderedJson required = s.value("required", OrderedJson::array());
    const OrderedJson known = s.value("properties", OrderedJson::object());
    for (const auto& [name, schema] : known.items()) {
      const bool must = std::find(required.begin(), required.end(), name) != required.end();
      if (must || (depth < 4 && chance(2))) result[name] = value(root, schema, depth + 1);
    }
    if (s.contains("patternProperties") && chance(2)) {
      result["x_\u00e9"] = value(root, s["patternProperties"]["^x_"], depth + 1);
    }
    const OrderedJson other = s.value("additionalProperties", OrderedJson(false));
    if (other.is_object() && chance(2)) result["name2 "] = value(root, other, depth + 1);
    return result;
  }

  Random random_;
};

}  // namespace kl::test
