// Values that a schema lists: those that satisfy all else that holds.
#include <algorithm>
#include <cmath>

#include "base/utf8.h"
#include "grammar/characters.h"
#include "grammar/schema_compiler.h"

namespace kl::grammar {

/// The values of const or enum of one schema that all of them admit.
Graph SchemaCompiler::enumeration(const std::vector<NodeId>& own, NodeId values_of) {
  const NodeId constant = keyword(values_of, "const"), list = keyword(values_of, "enum");
  if (constant == kNoNode && tree_[list].kind != JsonKind::kArray) refuse(values_of, "enum", "an array");
  Nfa nfa(budget_);
  const StateId from = nfa.add(), to = nfa.add();
  const std::vector<NodeId> values = constant != kNoNode ? std::vector<NodeId>{constant} : tree_.children(list);
  const bool any_text =
      std::any_of(values.begin(), values.end(), [&](NodeId value) { return tree_[value].kind == JsonKind::kString; });
  const StringRules strings = any_text ? string_rules(own) : StringRules{};
  for (const NodeId value : values) {
    if (admits(own, strings, value)) add_constant(nfa, from, tree_.write(value), to);
  }
  return nfa.determinise(from, to);
}

/// Reads compact JSON with blanks where they may stand.
void SchemaCompiler::add_constant(Nfa& nfa, StateId from, std::string_view json, StateId to) {
  bool in_string = false;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (c == '"') in_string = !in_string;
    if (in_string && c == '\\') from = nfa.text(from, json.substr(i++, 1));
    const bool closes = !in_string && (c == '}' || c == ']') && json[i - 1] != '{' && json[i - 1] != '[';
    if (closes) from = nfa.call(from, blank_);
    from = nfa.text(from, json.substr(i, 1));
    if (!in_string && (c == '{' || c == '[' || c == ',' || c == ':')) from = nfa.call(from, blank_);
  }
  nfa.empty(from, to);
}

/// The values of an enum, each as compact JSON.
const std::unordered_set<std::string>& SchemaCompiler::texts_of(NodeId list) {
  const auto [it, is_new] = enumerated_.try_emplace(list);
  if (is_new) {
    for (const NodeId value : tree_.children(list)) it->second.insert(tree_.write(value));
  }
  return it->second;
}

/// Does `value` satisfy all that is not said by a list?  `strings`: what it must be if it is a string.
bool SchemaCompiler::admits(const std::vector<NodeId>& own, const StringRules& strings, NodeId value) {
  const std::uint32_t type = type_of(value);
  const std::string text = tree_.write(value);
  constexpr std::size_t kStepsPerSchema = 32;
  budget_.spend_steps(kStepsPerSchema * own.size());
  if ((types(own) & type) == 0) return false;
  for (const NodeId schema : own) {
    const NodeId constant = keyword(schema, "const"), list = keyword(schema, "enum");
    if (constant != kNoNode && tree_.write(constant) != text) return false;
    if (list != kNoNode && tree_[value].parent != list && !texts_of(list).contains(text)) return false;
    for (const char* name : {"properties", "required", "additionalProperties", "patternProperties", "propertyNames",
                             "minProperties", "maxProperties", "unevaluatedProperties"}) {
      if (type == kObject && keyword(schema, name) != kNoNode)
        refuse(schema, name, "no such keyword beside an object in enum or const");
    }
    for (const char* name : {"items", "prefixItems", "additionalItems", "minItems", "maxItems"}) {
      if (type == kArray && keyword(schema, name) != kNoNode)
        refuse(schema, name, "no such keyword beside an array in enum or const");
    }
  }
  if (type == kString) {
    const std::size_t characters = count_characters(tree_[value].text);
    if (characters < strings.count.need || characters > strings.count.room) return false;
    return !strings.contents || reads(*strings.contents, canonical(tree_[value].text));
  }
  if ((type & (kWhole | kFractional)) != 0) {
    const auto decimal = decimal_of(value);
    const auto low = bound(own, true), high = bound(own, false);
    if (!decimal && (low || high)) return false;
    if (low && compare(*decimal, low->value) < (low->exclusive ? 1 : 0)) return false;
    if (high && compare(*decimal, high->value) > (high->exclusive ? -1 : 0)) return false;
    for (const std::uint32_t divisor : divisors(own)) {
      if (remainder(value, divisor) != 0) return false;
    }
  }
  return true;
}

/// What a number leaves when it is divided: exact for integers.
double SchemaCompiler::remainder(NodeId value, std::uint32_t divisor) const {
  const std::string digits = tree_.write(value);
  if (digits.find_first_not_of("-0123456789") != digits.npos) return std::fmod(tree_[value].number, divisor);
  std::uint64_t rest = 0;
  for (const char c : digits) rest = c == '-' ? 0 : (rest * 10 + static_cast<std::uint64_t>(c - '0')) % divisor;
  return static_cast<double>(rest);
}

}  // namespace kl::grammar
