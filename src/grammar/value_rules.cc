// What a value looks like where all of some schemas hold and nothing is left to choose but its type.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "grammar/characters.h"
#include "grammar/regex.h"
#include "grammar/schema_compiler.h"

namespace kl::grammar {
namespace {

/// Formats whose texts we know how to write; others are annotations, as the specification has it.
struct Format {
  std::string_view name, pattern;
};
#define KL_DATE                                                                                                        \
  "[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|" \
  "1[0-9]|2[0-8]))"
#define KL_TIME "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
#define KL_OCTET "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define KL_LABEL "[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*"
constexpr Format kFormats[] = {
    {"date", "^" KL_DATE "$"},
    {"time", "^" KL_TIME "$"},
    {"date-time", "^" KL_DATE "T" KL_TIME "$"},
    {"uuid", "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"},
    {"ipv4", "^" KL_OCTET "(?:\\." KL_OCTET "){3}$"},
    {"email", "^[A-Za-z0-9_+-]+(?:\\.[A-Za-z0-9_+-]+)*@" KL_LABEL "(?:\\." KL_LABEL ")+$"},
};
#undef KL_DATE
#undef KL_TIME
#undef KL_OCTET
#undef KL_LABEL

constexpr std::uint32_t kMostDivisor = 10'000;

bool is_whole(double x) { return std::isfinite(x) && std::floor(x) == x; }

}  // namespace

std::uint32_t SchemaCompiler::type_of(NodeId value) const {
  switch (tree_[value].kind) {
    case JsonKind::kNull:
      return kNull;
    case JsonKind::kBoolean:
      return kBoolean;
    case JsonKind::kString:
      return kString;
    case JsonKind::kArray:
      return kArray;
    case JsonKind::kObject:
      return kObject;
    default:
      return is_whole(tree_[value].number) ? kWhole : kFractional;
  }
}

/// The types that the keyword `type` allows.
std::uint32_t SchemaCompiler::types(NodeId schema) {
  const NodeId type = keyword(schema, "type");
  if (type == kNoNode) return kAnyType;
  std::uint32_t result = 0;
  const bool several = tree_[type].kind == JsonKind::kArray;
  for (const NodeId name : several ? tree_.children(type) : std::vector<NodeId>{type}) {
    const std::string_view text = tree_[name].text;
    const std::uint32_t one = text == "null"      ? kNull
                              : text == "boolean" ? kBoolean
                              : text == "integer" ? kWhole
                              : text == "number"  ? kWhole | kFractional
                              : text == "string"  ? kString
                              : text == "array"   ? kArray
                              : text == "object"  ? kObject
                                                  : 0u;
    if (one == 0) refuse(schema, "type", fmt::format("the name of a JSON type, got {}", tree_.describe(name)));
    result |= one;
  }
  const NodeId nullable = keyword(schema, "nullable");
  if (nullable != kNoNode && tree_[nullable].boolean) result |= kNull;
  return result;
}

std::uint32_t SchemaCompiler::types(const std::vector<NodeId>& own) {
  std::uint32_t result = kAnyType;
  for (const NodeId schema : own) result &= types(schema);
  return result;
}

Graph SchemaCompiler::value(const std::vector<NodeId>& own) {
  for (const NodeId schema : own) {
    if (keyword(schema, "const") != kNoNode || keyword(schema, "enum") != kNoNode) return enumeration(own, schema);
  }
  const std::uint32_t allowed = types(own);
  Nfa nfa(budget_);
  const StateId from = nfa.add(), to = nfa.add();
  if ((allowed & kNull) != 0) nfa.text(from, "null", to);
  if ((allowed & kBoolean) != 0) {
    nfa.text(from, "true", to);
    nfa.text(from, "false", to);
  }
  if ((allowed & kWhole) != 0) add_number(nfa, from, own, (allowed & kFractional) == 0, to);
  if ((allowed & kString) != 0) add_string(nfa, from, own, to);
  if ((allowed & kArray) != 0) {
    if (const auto rule = array(own)) nfa.call(from, *rule, to);
  }
  if ((allowed & kObject) != 0) add_object(nfa, from, own, to);
  return nfa.determinise(from, to);
}

/// A number as decimal digits, exact for integers; nothing if there are too many.
std::optional<Decimal> SchemaCompiler::decimal_of(NodeId value) const {
  const JsonNode& node = tree_[value];
  if (node.kind == JsonKind::kNumber) return to_decimal(node.number);
  Decimal decimal;
  decimal.negative = node.kind == JsonKind::kInteger && node.integer < 0;
  decimal.whole = tree_.write(value).substr(decimal.negative ? 1 : 0);
  return decimal.whole.size() > kWholeDigits ? std::nullopt : std::optional(decimal);
}

/// A keyword that counts, or nothing.
std::optional<std::uint32_t> SchemaCompiler::count(NodeId schema, std::string_view name) {
  const NodeId value = keyword(schema, name);
  if (value == kNoNode) return {};
  const JsonNode& node = tree_[value];
  if (!node.is_number() || node.number < 0 || !is_whole(node.number)) {
    refuse(schema, name, fmt::format("a whole number of at least 0, got {}", tree_.describe(value)));
  }
  return static_cast<std::uint32_t>(std::min<double>(node.number, kUnlimited - 1));
}

/// The tightest bound of numbers on one side.
std::optional<Bound> SchemaCompiler::bound(const std::vector<NodeId>& own, bool lower) {
  std::optional<Bound> tightest;
  const auto add = [&](NodeId schema, const char* name, NodeId value, bool exclusive) {
    if (!tree_[value].is_number()) refuse(schema, name, fmt::format("a number, got {}", tree_.describe(value)));
    const auto decimal = decimal_of(value);
    if (!decimal)
      refuse(schema, name, fmt::format("at most 18 digits on either side of the point, got {}", tree_.describe(value)));
    const Bound next{*decimal, exclusive};
    const int order = tightest ? compare(next.value, tightest->value) * (lower ? 1 : -1) : 1;
    if (order > 0 || (order == 0 && exclusive)) tightest = next;
  };
  for (const NodeId schema : own) {
    const char* inclusive_name = lower ? "minimum" : "maximum";
    const char* exclusive_name = lower ? "exclusiveMinimum" : "exclusiveMaximum";
    const NodeId inclusive = keyword(schema, inclusive_name), exclusive = keyword(schema, exclusive_name);
    const bool draft4 = exclusive != kNoNode && tree_[exclusive].kind == JsonKind::kBoolean;
    if (inclusive != kNoNode) add(schema, inclusive_name, inclusive, draft4 && tree_[exclusive].boolean);
    if (exclusive != kNoNode && !draft4) add(schema, exclusive_name, exclusive, true);
  }
  return tightest;
}

/// The integers within the bounds; empty if the first exceeds the second.
std::pair<std::int64_t, std::int64_t> SchemaCompiler::whole_bounds(const std::vector<NodeId>& own) {
  std::int64_t low = std::numeric_limits<std::int64_t>::min(), high = std::numeric_limits<std::int64_t>::max();
  const auto nearest = [](const Bound& bound, bool lower) {  // the first integer inside
    const std::int64_t whole = std::stoll(bound.value.whole) * (bound.value.negative ? -1 : 1);
    const bool is_integer = bound.value.fraction.empty();
    if (is_integer) return whole + (!bound.exclusive ? 0 : lower ? 1 : -1);
    if (lower) return bound.value.negative ? whole : whole + 1;
    return bound.value.negative ? whole - 1 : whole;
  };
  if (const auto bound_low = bound(own, true)) low = nearest(*bound_low, true);
  if (const auto bound_high = bound(own, false)) high = nearest(*bound_high, false);
  return {low, high};
}

std::vector<std::uint32_t> SchemaCompiler::divisors(const std::vector<NodeId>& own) {
  std::vector<std::uint32_t> result;
  for (const NodeId schema : own) {
    const NodeId value = keyword(schema, "multipleOf");
    if (value == kNoNode) continue;
    const double number = tree_[value].is_number() ? tree_[value].number : 0;
    if (!is_whole(number) || number < 1 || number > kMostDivisor) {
      refuse(schema, "multipleOf",
             fmt::format("a whole number from 1 to {}, got {}", kMostDivisor, tree_.describe(value)));
    }
    result.push_back(static_cast<std::uint32_t>(number));
  }
  return result;
}

void SchemaCompiler::add_number(Nfa& nfa, StateId from, const std::vector<NodeId>& own, bool whole, StateId to) {
  const std::vector<std::uint32_t> factors = divisors(own);
  if (!whole && factors.empty()) {
    add_numbers(nfa, from, bound(own, true), bound(own, false), to);
    return;
  }
  const auto [low, high] = whole_bounds(own);
  if (factors.empty()) {
    add_integers(nfa, from, low, high, to);
    return;
  }
  Nfa range(budget_);
  const StateId start = range.add(), end = range.add();
  add_integers(range, start, low, high, end);
  Graph graph = range.determinise(start, end);
  for (const std::uint32_t factor : factors) {
    graph = combine(graph, multiples_of(factor, budget_), Combine::kBoth, budget_);
  }
  nfa.graph(from, graph, to);
}

/// The bounds of a string's length.
Count SchemaCompiler::length(const std::vector<NodeId>& own) {
  Count result;
  for (const NodeId schema : own) {
    result.need = std::max(result.need, count(schema, "minLength").value_or(0));
    result.room = std::min(result.room, count(schema, "maxLength").value_or(kUnlimited));
  }
  return result;
}

const Graph& SchemaCompiler::pattern(NodeId schema, std::string_view name, std::string_view text) {
  const auto it = patterns_.find(text);
  if (it != patterns_.end()) return it->second;
  try {
    return patterns_.emplace(text, compile_pattern(text, budget_)).first->second;
  } catch (const PatternError& error) {
    refuse(schema, name, fmt::format("a pattern of the supported kind: {}", error.what()));
  }
}

namespace {

/// What satisfies both counts.
Count both(Count a, Count b) { return {std::max(a.need, b.need), std::min(a.room, b.room)}; }

}  // namespace

/// What length, patterns and formats make of a string; no graph if only its length matters.
SchemaCompiler::StringRules SchemaCompiler::string_rules(const std::vector<NodeId>& own) {
  StringRules rules{{}, length(own)};
  const auto also = [&](NodeId schema, const char* name, std::string_view text) {
    try {
      const Texts texts = compile_counted_pattern(text, budget_);
      rules.count = both(rules.count, texts.count);
      rules.contents = rules.contents ? combine(*rules.contents, texts.graph, Combine::kBoth, budget_) : texts.graph;
    } catch (const PatternError& error) {
      refuse(schema, name, fmt::format("a pattern of the supported kind: {}", error.what()));
    }
  };
  for (const NodeId schema : own) {
    const NodeId text = keyword(schema, "pattern"), format = keyword(schema, "format");
    if (text != kNoNode) {
      if (tree_[text].kind != JsonKind::kString) refuse(schema, "pattern", "a string");
      also(schema, "pattern", tree_[text].text);
    }
    for (const Format& known : kFormats) {
      if (format != kNoNode && tree_[format].text == known.name) also(schema, "format", known.pattern);
    }
  }
  return rules;
}

/// The contents with the length worked into the states; no graph: any string.
std::optional<Graph> SchemaCompiler::uncounted(const StringRules& rules) {
  if (rules.count == Count{}) return rules.contents;
  const Graph lengths = compile_length(rules.count.need, rules.count.room, budget_);
  return rules.contents ? combine(*rules.contents, lengths, Combine::kBoth, budget_) : lengths;
}

void SchemaCompiler::add_string(Nfa& nfa, StateId from, const std::vector<NodeId>& own, StateId to) {
  StringRules rules = string_rules(own);
  if (rules.count.need > rules.count.room) return;
  if (!rules.contents) {
    nfa.call(from, string_, to, rules.count);
    return;
  }
  if (!(rules.count == Count{})) {
    if (const auto rest = counted_rest(*rules.contents, rules.count)) {
      budget_.spend_states(rest->states.size());
      nfa.call(nfa.text(from, "\""), add_rule(*rest), to, rules.count);
      return;
    }
  }
  const StateId end = nfa.add();
  nfa.graph(nfa.text(from, "\""), *uncounted(rules), end);
  nfa.text(end, "\"", to);
}

/// The rule of arrays, or nothing if there can be none.
std::optional<RuleId> SchemaCompiler::array(const std::vector<NodeId>& own) {
  List list{'[', ']', {}, {}, 0, kUnlimited};
  std::size_t num_first = 0;
  const auto first_of = [&](NodeId schema) {  // prefixItems, or items as drafts before 2020 have it
    const NodeId items = keyword(schema, "items"), first = keyword(schema, "prefixItems");
    return items != kNoNode && tree_[items].kind == JsonKind::kArray ? items : first;
  };
  for (const NodeId schema : own) {
    list.least = std::max(list.least, count(schema, "minItems").value_or(0));
    list.most = std::min(list.most, count(schema, "maxItems").value_or(kUnlimited));
    const NodeId first = first_of(schema);
    if (first == kNoNode) continue;
    if (tree_[first].kind != JsonKind::kArray) refuse(schema, "prefixItems", "an array of schemas");
    num_first = std::max<std::size_t>(num_first, tree_[first].num_children);
  }
  if (list.least > list.most) return {};
  std::vector<Parts> items(num_first + 1, Parts{{any_schema_}});  // the last for all that follow
  for (const NodeId schema : own) {
    const NodeId first = first_of(schema);
    const std::vector<NodeId> known = first == kNoNode ? std::vector<NodeId>{} : tree_.children(first);
    const NodeId rest =
        keyword(schema, first == keyword(schema, "items") && first != kNoNode ? "additionalItems" : "items");
    for (std::size_t i = 0; i < items.size(); ++i) {
      budget_.spend_steps(1);
      if (i < known.size()) {
        items[i].push_back({known[i]});
      } else if (rest != kNoNode) {
        items[i].push_back({rest});
      }
    }
  }
  for (std::size_t i = 0; i < num_first; ++i) list.first.push_back(rule_of(items[i]));
  list.rest = rule_of(items[num_first]);
  return list_rule(list);
}

}  // namespace kl::grammar
