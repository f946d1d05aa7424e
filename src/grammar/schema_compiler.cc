#include "grammar/schema_compiler.h"

#include <fmt/format.h>

#include <algorithm>

#include "grammar/characters.h"
#include "kl/error.h"

namespace kl::grammar {
namespace {

/// Keywords that narrow what is valid and that we cannot follow.  Any other word that we do not know is an annotation,
/// as the specification has it.
constexpr std::string_view kRefused[] = {
    "not",
    "if",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "$dynamicRef",
    "$recursiveRef",
    "unevaluatedItems",
};
constexpr std::size_t kMostAlternatives = 256;

/// Blanks between two parts of a text: none, a blank, or a line end with an indentation.  A model that likes blanks
/// cannot go on with them for ever.
Graph blanks() {
  constexpr StateId kBlanks = 20, kTabs = 6;
  Graph graph;  // 0: start, 1: end, 2 + n: line end and n blanks, then tabs
  const StateId line = 2, tab = line + kBlanks + 1;
  graph.add_state(true);
  graph.add_edge('\n', '\n', line);
  graph.add_edge(' ', ' ', 1);
  graph.add_state(true);
  for (StateId n = 0; n <= kBlanks; ++n) {
    graph.add_state(true);
    if (n == 0) graph.add_edge('\t', '\t', tab);
    if (n < kBlanks) graph.add_edge(' ', ' ', line + n + 1);
  }
  for (StateId n = 1; n <= kTabs; ++n) {
    graph.add_state(true);
    if (n < kTabs) graph.add_edge('\t', '\t', tab + n);
  }
  return graph;
}

}  // namespace

SchemaCompiler::SchemaCompiler(std::string_view schema, bool only_objects, const GrammarLimits& limits)
    : tree_(schema, 2 * limits.depth), limits_(limits), budget_(limits.states) {
  automaton_.depth = static_cast<std::uint8_t>(std::min<std::size_t>(limits.depth, kDead - 1));
  root_ = {{tree_.root()}};
  any_schema_ = tree_.add("{}", 1);
  if (only_objects) root_.push_back({tree_.add(R"({"type":"object"})", 1)});
  automaton_.graph.append(string_rest());
  automaton_.rules = {automaton_.graph.add_state(), 0};
  automaton_.graph.add_edge('"', '"', kInString);
  string_ = 0;
  blank_ = 1;
  set_rule(blank_, blanks());
}

Automaton SchemaCompiler::run() {
  automaton_.root = rule_of(root_);
  while (!open_.empty()) {
    const auto [rule, parts] = open_.front();
    open_.pop_front();
    try {
      build(rule, *parts);
    } catch (const Budget::Exceeded&) {
      refuse(
          parts->empty() ? tree_.root() : parts->front().node, "",
          fmt::format("an automaton of at most {} states, and as much work as that allows, got more", limits_.states));
    }
  }
  if (!automaton_.complete()) {
    refuse(tree_.root(), "", fmt::format("a value that satisfies it, got none of depth {} or less", limits_.depth));
  }
  return std::move(automaton_);
}

void SchemaCompiler::refuse(NodeId schema, std::string_view name, const std::string& expected) const {
  std::string place = tree_.pointer(schema);
  if (!name.empty()) place += fmt::format("/{}", name);
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("json schema, {}: expected {}", place.empty() ? "top level" : place, expected));
}

/// Throws if a schema is none, or asks for what we cannot promise.
void SchemaCompiler::check(NodeId schema) {
  if (!checked_.try_emplace(schema, true).second) return;
  if (tree_[schema].kind != JsonKind::kObject) {
    refuse(schema, "", fmt::format("a schema (an object or a boolean), got {}", tree_.describe(schema)));
  }
  for (const std::string_view name : kRefused) {
    if (keyword(schema, name) != kNoNode) refuse(schema, name, "no such keyword, which kl does not support");
  }
  const NodeId unique = keyword(schema, "uniqueItems");
  if (unique != kNoNode && tree_[unique].boolean) refuse(schema, "uniqueItems", "false, as kl cannot compare items");
}

void SchemaCompiler::follow_reference(NodeId schema, Parts& work) {
  const NodeId reference = keyword(schema, "$ref");
  if (reference == kNoNode) return;
  if (tree_[reference].kind != JsonKind::kString) refuse(schema, "$ref", "a string");
  for (NodeId around = schema; around != tree_.root(); around = tree_[around].parent) {
    const NodeId id = keyword(around, "$id");
    if (id != kNoNode && tree_[id].kind == JsonKind::kString)
      refuse(around, "$id", "none but at the top, around a $ref");
    if (tree_[around].parent == kNoNode) break;
  }
  const std::string_view text = tree_[reference].text;
  auto it = references_.find(text);
  if (it == references_.end()) it = references_.emplace(text, tree_.resolve(text, budget_)).first;
  if (it->second == kNoNode) {
    refuse(schema, "$ref", fmt::format("# or #/... naming a place in this schema, got {}", tree_.describe(reference)));
  }
  work.push_back({it->second});
}

/// What must hold besides a schema's own keywords.
SchemaCompiler::Parts SchemaCompiler::referred(NodeId schema) {
  Parts result;
  follow_reference(schema, result);
  for (const std::string_view name : {"allOf", "anyOf", "oneOf"}) {
    const NodeId list = keyword(schema, name);
    if (list == kNoNode) continue;
    if (tree_[list].kind != JsonKind::kArray || tree_[list].num_children == 0)
      refuse(schema, name, "an array of schemas");
    if (name != "allOf" && tree_[list].num_children > kMostAlternatives) {
      refuse(list, "", fmt::format("at most {} alternatives, got {}", kMostAlternatives, tree_[list].num_children));
    }
    if (name == "oneOf") require_exclusive(list);
    if (name != "allOf") {
      result.push_back({list, PartKind::kAlternatives});
      continue;
    }
    for (const NodeId child : tree_.children(list)) result.push_back({child});
  }
  return result;
}

SchemaCompiler::Expanded SchemaCompiler::expand(const Parts& parts) {
  constexpr std::size_t kStepsPerPart = 32;
  Expanded result;
  // Depth first; a part stays on the list, marked as open, until all that it refers to is done.
  std::map<Part, bool> open;
  Parts work = parts;
  while (!work.empty()) {
    const Part part = work.back();
    const auto [state, is_new] = open.try_emplace(part, true);
    if (!is_new) {
      state->second = false;
      work.pop_back();
      continue;
    }
    budget_.spend_steps(kStepsPerPart);
    if (part.kind == PartKind::kAlternatives) {
      result.alternatives.push_back(part.node);
    } else if (tree_[part.node].kind == JsonKind::kBoolean) {
      result.possible = result.possible && tree_[part.node].boolean;
    } else {
      check(part.node);
      result.own.push_back(part.node);
      if (part.kind == PartKind::kOwn) continue;
      for (const Part& next : referred(part.node)) {
        const auto known = open.find(next);
        if (known == open.end()) {
          work.push_back(next);
        } else if (known->second) {
          refuse(part.node, "", "a schema that does not refer to itself before any value");
        }
      }
    }
  }
  const auto sort = [](std::vector<NodeId>& nodes) {
    std::sort(nodes.begin(), nodes.end());
    nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  };
  sort(result.own);
  sort(result.alternatives);
  return result;
}

RuleId SchemaCompiler::rule_of(Parts parts) {
  std::sort(parts.begin(), parts.end());
  parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
  const auto [it, is_new] = rules_.try_emplace(std::move(parts), static_cast<RuleId>(automaton_.rules.size()));
  if (is_new) {
    automaton_.rules.push_back(0);
    open_.emplace_back(it->second, &it->first);
  }
  return it->second;
}

void SchemaCompiler::set_rule(RuleId rule, const Graph& graph) {
  automaton_.rules[rule] = automaton_.graph.append(graph);
}

RuleId SchemaCompiler::add_rule(const Graph& graph) {
  const auto rule = static_cast<RuleId>(automaton_.rules.size());
  automaton_.rules.push_back(automaton_.graph.append(graph));
  return rule;
}

void SchemaCompiler::build(RuleId rule, const Parts& parts) {
  const Expanded expanded = expand(parts);
  if (!expanded.possible) {
    Graph nothing;
    nothing.add_state();
    set_rule(rule, nothing);
  } else if (!expanded.alternatives.empty()) {
    set_rule(rule, choice(expanded));
  } else {
    set_rule(rule, value(expanded.own));
  }
}

/// Settles the first open list: one call for each of its schemas, together with all else that holds.
Graph SchemaCompiler::choice(const Expanded& expanded) {
  const NodeId list = expanded.alternatives[0];
  Parts rest;
  for (const NodeId own : expanded.own) rest.push_back({own, PartKind::kOwn});
  for (std::size_t i = 1; i < expanded.alternatives.size(); ++i) {
    rest.push_back({expanded.alternatives[i], PartKind::kAlternatives});
  }
  Nfa nfa(budget_);
  const StateId from = nfa.add(), to = nfa.add();
  for (const NodeId schema : tree_.children(list)) {
    Parts parts = rest;
    parts.push_back({schema});
    budget_.spend_steps(parts.size());
    nfa.call(from, rule_of(std::move(parts)), to);
  }
  return nfa.determinise(from, to);
}

Automaton compile_schema(std::string_view schema, bool only_objects, const GrammarLimits& limits) {
  if (schema.size() > limits.schema_bytes) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("json schema: expected at most {} bytes, got {}", limits.schema_bytes, schema.size()));
  }
  return SchemaCompiler(schema, only_objects, limits).run();
}

}  // namespace kl::grammar
