// Objects and lists: which names may come, in which order, and what stands between them.
#include <fmt/format.h>

#include <algorithm>

#include "grammar/characters.h"
#include "grammar/regex.h"
#include "grammar/schema_compiler.h"

namespace kl::grammar {
namespace {

constexpr std::size_t kMostPatterns = 4;  // their combinations are looked at one by one

/// A graph whose states may get edges and calls in any order.
class LooseGraph {
 public:
  StateId add(bool final = false) {
    nodes_.push_back({{}, {}, final});
    return static_cast<StateId>(nodes_.size() - 1);
  }
  void edge(StateId from, char byte, StateId to, Action action = Action::kNone) {
    const auto b = static_cast<std::uint8_t>(byte);
    nodes_[from].edges.push_back({b, b, action, to});
  }
  void call(StateId from, RuleId rule, StateId to, Count count = {}, Action action = Action::kNone) {
    nodes_[from].calls.push_back({rule, to, count, action});
  }
  Graph graph() const {
    Graph result;
    for (const Node& node : nodes_) {
      result.add_state(node.final);
      std::vector<Edge> edges = node.edges;
      std::sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.low < b.low; });
      for (const Edge& e : edges) result.add_edge(e.low, e.high, e.target, e.action);
      for (const Call& c : node.calls) result.add_call(c);
    }
    return result;
  }

 private:
  struct Node {
    std::vector<Edge> edges;
    std::vector<Call> calls;
    bool final;
  };
  std::vector<Node> nodes_;
};

}  // namespace

/// The rule of a list; its own start calls the list proper with the counter that the bounds amount to.
///
///     [ blanks  first item  blanks?  ,  blanks  next item ... blanks ]
///
/// Items of `first` are counted by where the automaton is, all others by the rule's counter.
RuleId SchemaCompiler::list_rule(const List& list) {
  const std::size_t known = list.first.size();
  budget_.spend_states(3 * known + 8);
  LooseGraph graph;
  const StateId start = graph.add(), opened = graph.add(), close = graph.add(), end = graph.add(true);
  graph.edge(start, list.open, opened);
  graph.edge(close, list.close, end);
  StateId item = graph.add();  // where an item may begin
  graph.call(opened, blank_, item);
  if (list.least == 0) graph.edge(item, list.close, end);
  for (std::size_t i = 0; i < known; ++i) {
    const StateId behind = graph.add(), comma = graph.add(), next = graph.add();
    if (i < list.most) graph.call(item, list.first[i], behind);
    if (i + 1 < list.most) graph.edge(behind, ',', comma);
    if (i + 1 >= list.least) graph.call(behind, blank_, close, {}, Action::kLeave);
    graph.call(comma, blank_, next);
    item = next;
  }
  Count others;
  others.need = list.least > known ? list.least - static_cast<std::uint32_t>(known) : 0;
  if (list.most != kUnlimited) others.room = list.most > known ? list.most - static_cast<std::uint32_t>(known) : 0;
  if (list.rest) {
    const StateId behind = graph.add(), comma = graph.add(), next = graph.add();
    graph.call(item, *list.rest, behind, {}, Action::kTick);
    graph.edge(behind, ',', comma, Action::kMore);
    graph.call(behind, blank_, close, {}, Action::kLeave);
    graph.call(comma, blank_, next);
    graph.call(next, *list.rest, behind, {}, Action::kTick);
  }
  LooseGraph entry;
  const StateId enter = entry.add();
  entry.call(enter, add_rule(graph.graph()), entry.add(true), others);
  return add_rule(entry.graph());
}

/// The keyword that says what properties must be that a schema does not declare.
NodeId SchemaCompiler::others_keyword(NodeId schema) const {
  const NodeId additional = keyword(schema, "additionalProperties");
  return additional != kNoNode ? additional : keyword(schema, "unevaluatedProperties");
}

/// unevaluatedProperties looks at the schemas beside it; where there are none, it is additionalProperties.
void SchemaCompiler::check_unevaluated(const std::vector<NodeId>& own) {
  const auto says_more_than_type = [&](NodeId schema) {
    return tree_[schema].num_children > (keyword(schema, "type") == kNoNode ? 0u : 1u);
  };
  const auto speaking = std::count_if(own.begin(), own.end(), says_more_than_type);
  for (const NodeId schema : own) {
    const NodeId unevaluated = keyword(schema, "unevaluatedProperties");
    if (unevaluated != kNoNode && speaking > 1) {
      refuse(schema, "unevaluatedProperties", "no other schema to hold for the same object (use additionalProperties)");
    }
  }
}

/// Whether a schema forbids a property it has not declared; if not, adds to `parts` what it asks of its value.
bool SchemaCompiler::forbids(NodeId schema, std::string_view name, Parts& parts) {
  bool matched = false;
  const NodeId patterns = keyword(schema, "patternProperties");
  for (const NodeId child : patterns == kNoNode ? std::vector<NodeId>{} : tree_.children(patterns)) {
    if (!reads(pattern(schema, "patternProperties", tree_[child].key), canonical(name))) continue;
    parts.push_back({child});
    matched = true;
  }
  const NodeId declared = keyword(schema, "properties");
  const NodeId property = declared == kNoNode ? kNoNode : tree_.find(declared, name);
  if (property != kNoNode) {
    parts.push_back({property});
    matched = true;
  }
  const NodeId additional = others_keyword(schema);
  if (matched || additional == kNoNode) return false;
  parts.push_back({additional});
  return tree_[additional].kind == JsonKind::kBoolean && !tree_[additional].boolean;
}

/// All properties whose names the schemas mention, in the order of the text.
std::vector<SchemaCompiler::Property> SchemaCompiler::properties(const std::vector<NodeId>& own) {
  std::vector<Property> known;
  std::map<std::string_view, std::size_t> index;
  const auto mention = [&](std::string_view name, bool required) {
    const auto [it, is_new] = index.try_emplace(name, known.size());
    if (is_new) known.push_back({name, {}, false});
    known[it->second].required |= required;
  };
  for (const NodeId schema : own) {
    const NodeId declared = keyword(schema, "properties");
    if (declared == kNoNode) continue;
    if (tree_[declared].kind != JsonKind::kObject) refuse(schema, "properties", "an object of schemas");
    for (const NodeId property : tree_.children(declared)) mention(tree_[property].key, false);
  }
  for (const NodeId schema : own) {
    const NodeId required = keyword(schema, "required");
    if (required == kNoNode || tree_[required].kind == JsonKind::kBoolean) continue;  // draft 3 had a boolean
    if (tree_[required].kind != JsonKind::kArray) refuse(schema, "required", "an array of names");
    for (const NodeId name : tree_.children(required)) {
      if (tree_[name].kind != JsonKind::kString) refuse(schema, "required", "an array of names");
      mention(tree_[name].text, true);
    }
  }
  constexpr std::size_t kStepsPerSchema = 16;
  std::vector<Property> possible;
  for (Property& property : known) {
    bool forbidden = false;
    property.parts = {{any_schema_}};
    for (const NodeId schema : own) forbidden |= forbids(schema, property.name, property.parts);
    budget_.spend_steps(kStepsPerSchema * own.size());
    if (property.required || !forbidden) possible.push_back(std::move(property));
  }
  return possible;
}

/// May properties come that no schema names?  Where one names some and none says anything of others, no: a text without
/// them is valid as well, and is what was asked for.
bool SchemaCompiler::is_open(const std::vector<NodeId>& own) {
  bool says = false, names_some = false;
  for (const NodeId schema : own) {
    const NodeId additional = others_keyword(schema);
    says |= additional != kNoNode;
    names_some |= keyword(schema, "properties") != kNoNode || keyword(schema, "patternProperties") != kNoNode;
  }
  return says || !names_some;
}

/// What is known of names that no schema mentions: one entry for every combination of patterns they may match.
std::vector<SchemaCompiler::OtherNames> SchemaCompiler::other_names(const std::vector<NodeId>& own,
                                                                    const std::vector<Property>& known) {
  struct Pattern {
    NodeId owner, schema;
    const Graph* names;
  };
  std::vector<Pattern> patterns;
  std::vector<NodeId> name_schemas;
  for (const NodeId schema : own) {
    const NodeId list = keyword(schema, "patternProperties"), names = keyword(schema, "propertyNames");
    for (const NodeId child : list == kNoNode ? std::vector<NodeId>{} : tree_.children(list)) {
      patterns.push_back({schema, child, &pattern(schema, "patternProperties", tree_[child].key)});
    }
    if (names == kNoNode) continue;
    const Expanded expanded = expand({{names}});
    if (!expanded.possible) return {};
    if (!expanded.alternatives.empty()) refuse(schema, "propertyNames", "no alternatives");
    for (const NodeId s : expanded.own) {
      if (keyword(s, "enum") != kNoNode || keyword(s, "const") != kNoNode || !known.empty()) {
        refuse(schema, "propertyNames", "no enum, no const, and no properties beside it (name them there)");
      }
      name_schemas.push_back(s);
    }
  }
  const StringRules rules = string_rules(name_schemas);
  if (rules.count.need > rules.count.room || (types(name_schemas) & kString) == 0) return {};
  std::optional<Graph> free = uncounted(rules);
  if (!free && (!known.empty() || !patterns.empty())) free = compile_length(0, kUnlimited, budget_);
  if (!known.empty()) {
    Nfa names(budget_);
    const StateId from = names.add(), to = names.add();
    for (const Property& property : known) names.text(from, canonical(property.name), to);
    free = combine(*free, names.determinise(from, to), Combine::kFirstWithoutSecond, budget_);
  }

  std::vector<OtherNames> result;
  for (std::uint32_t chosen = 0; chosen < 1u << patterns.size(); ++chosen) {
    OtherNames names{free, {{any_schema_}}};
    std::vector<NodeId> satisfied;
    for (std::size_t i = 0; i < patterns.size(); ++i) {
      const bool matches = (chosen >> i & 1) != 0;
      names.names =
          combine(*names.names, *patterns[i].names, matches ? Combine::kBoth : Combine::kFirstWithoutSecond, budget_);
      if (!matches) continue;
      names.parts.push_back({patterns[i].schema});
      satisfied.push_back(patterns[i].owner);
    }
    if (chosen == 0 && !is_open(own)) continue;
    for (const NodeId schema : own) {
      const NodeId additional = others_keyword(schema);
      if (additional == kNoNode || std::count(satisfied.begin(), satisfied.end(), schema) > 0) continue;
      names.parts.push_back({additional});
    }
    result.push_back(std::move(names));
  }
  return result;
}

/// The rule of one property whose name is not known: name, colon, value.
RuleId SchemaCompiler::member(const std::vector<OtherNames>& others) {
  Nfa nfa(budget_);
  const StateId from = nfa.add(), to = nfa.add();
  for (const OtherNames& other : others) {
    RuleId name = string_;
    if (other.names) {
      Nfa quoted(budget_);
      const StateId start = quoted.add(), content_end = quoted.add(), end = quoted.add();
      quoted.graph(quoted.text(start, "\""), *other.names, content_end);
      quoted.text(content_end, "\"", end);
      name = add_rule(quoted.determinise(start, end));
    }
    nfa.call(nfa.call(nfa.text(nfa.call(from, name), ":"), blank_), rule_of(other.parts), to);
  }
  return add_rule(nfa.determinise(from, to));
}

void SchemaCompiler::check_patterns(const std::vector<NodeId>& own) {
  std::size_t num_patterns = 0;
  for (const NodeId schema : own) {
    const NodeId patterns = keyword(schema, "patternProperties");
    if (patterns == kNoNode) continue;
    if (tree_[patterns].kind != JsonKind::kObject) refuse(schema, "patternProperties", "an object of schemas");
    num_patterns += tree_[patterns].num_children;
    if (num_patterns <= kMostPatterns) continue;
    refuse(schema, "patternProperties", fmt::format("at most {} patterns, got {}", kMostPatterns, num_patterns));
  }
}

void SchemaCompiler::add_object(Nfa& nfa, StateId from, const std::vector<NodeId>& own, StateId to) {
  check_unevaluated(own);
  check_patterns(own);
  const std::vector<Property> known = properties(own);
  const std::vector<OtherNames> others = other_names(own, known);
  List list{'{', '}', {}, {}, 0, kUnlimited};
  NodeId least_of = 0, most_of = 0;
  for (const NodeId schema : own) {
    if (const auto least = count(schema, "minProperties"); least && *least > list.least) {
      list.least = *least;
      least_of = schema;
    }
    if (const auto most = count(schema, "maxProperties"); most && *most < list.most) {
      list.most = *most;
      most_of = schema;
    }
  }
  if (known.empty()) {
    if (list.least > 1) refuse(least_of, "minProperties", "at most 1, as names that are free may repeat");
    if (list.least > list.most) return;
    if (!others.empty()) list.rest = member(others);
    nfa.call(from, list_rule(list), to);
    return;
  }
  const auto required =
      static_cast<std::size_t>(std::count_if(known.begin(), known.end(), [](const Property& p) { return p.required; }));
  if (list.least > required) refuse(least_of, "minProperties", "no more than the properties that are required");
  if (list.most < known.size() || (list.most != kUnlimited && !others.empty())) {
    refuse(most_of, "maxProperties", "no fewer than the properties there may be");
  }
  add_known(nfa, from, known, others.empty() ? std::nullopt : std::optional(member(others)), to);
}

/// Properties in their order, optional ones left out at will, then others.
///
/// `first[i]`: nothing written yet, property i is looked at; `next[i]`: the same behind a comma.
void SchemaCompiler::add_known(Nfa& nfa, StateId from, const std::vector<Property>& known, std::optional<RuleId> member,
                               StateId to) {
  const std::size_t n = known.size();
  std::vector<StateId> first(n + 1), next(n + 1);
  for (std::size_t i = 0; i <= n; ++i) {
    first[i] = nfa.add();
    next[i] = nfa.add();
  }
  std::size_t last_required = 0;  // behind it the object may end
  for (std::size_t i = 0; i < n; ++i) {
    if (known[i].required) last_required = i + 1;
  }
  nfa.call(nfa.text(from, "{"), blank_, first[0]);
  const StateId close = nfa.add();
  nfa.edge(close, '}', '}', to);
  nfa.empty(first[n], close);
  const auto continue_from = [&](StateId behind, std::size_t i) {
    if (i < n || member) nfa.call(nfa.text(behind, ","), blank_, next[i]);
    if (i >= last_required) nfa.call(behind, blank_, close);
  };
  for (std::size_t i = 0; i < n; ++i) {
    const StateId name = nfa.add(), behind = nfa.add();
    nfa.empty(first[i], name);
    nfa.empty(next[i], name);
    if (!known[i].required) {
      nfa.empty(first[i], first[i + 1]);
      nfa.empty(next[i], next[i + 1]);
    }
    const StateId colon = nfa.text(name, '"' + canonical(known[i].name) + "\":");
    nfa.call(nfa.call(colon, blank_), rule_of(known[i].parts), behind);
    continue_from(behind, i + 1);
  }
  if (!member) return;
  const StateId behind = nfa.add();
  nfa.call(first[n], *member, behind);
  nfa.call(next[n], *member, behind);
  continue_from(behind, n);
}

}  // namespace kl::grammar
