#pragma once
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "grammar/automaton.h"
#include "grammar/budget.h"
#include "grammar/nfa.h"
#include "grammar/numbers.h"
#include "grammar/schema_tree.h"
#include "kl/structured.h"

namespace kl::grammar {

/// The state of every compiled automaton that stands inside a string of which nothing but the length is asked.
constexpr StateId kInString = 0;

/// The automaton of the JSON texts that `schema` describes; with `only_objects`, of the objects among them.
/// Throws Error(kInvalidArgument) naming place and keyword.
Automaton compile_schema(std::string_view schema, bool only_objects, const GrammarLimits& limits);

/// One compilation.
///
/// A rule stands for a *conjunction*: a set of schemas that hold at once, which is what $ref, allOf, and properties named
/// in several of them amount to.  Rules that are needed go on a list, so nothing recurses; the same conjunction is the
/// same rule, so schemas that contain themselves end.
///
///   1. expand() follows $ref and allOf, and collects the alternatives (anyOf, oneOf) that are open.
///   2. With an open alternative the rule is a choice: one rule for each way to settle the first of them.
///   3. Without, it is a value: what is listed (enum_rules.cc), or what each type that all schemas allow looks like
///      (value_rules.cc, object_rules.cc).
class SchemaCompiler {
 public:
  SchemaCompiler(std::string_view schema, bool only_objects, const GrammarLimits& limits);
  Automaton run();

 private:
  /// A schema that holds: all of it, its own keywords only, or one of the alternatives in a list.
  enum class PartKind : std::uint8_t { kSchema, kOwn, kAlternatives };
  struct Part {
    NodeId node;
    PartKind kind = PartKind::kSchema;
    auto operator<=>(const Part&) const = default;
  };
  using Parts = std::vector<Part>;

  /// A conjunction taken apart.
  struct Expanded {
    std::vector<NodeId> own;           ///< schemas whose own keywords hold, in the order of the text
    std::vector<NodeId> alternatives;  ///< lists of which one schema each must hold
    bool possible = true;
  };

  enum Type : std::uint32_t {
    kNull = 1,
    kBoolean = 2,
    kWhole = 4,
    kFractional = 8,
    kString = 16,
    kArray = 32,
    kObject = 64,
    kAnyType = 127,
  };

  /// A property whose name is known.
  struct Property {
    std::string_view name;
    Parts parts;  ///< what its value must satisfy
    bool required = false;
  };

  /// Names that are not known, and what their values must satisfy.
  struct OtherNames {
    std::optional<Graph> names;  ///< canonical contents of the names; nothing: any string
    Parts parts;
  };

  /// What a string must be.
  struct StringRules {
    std::optional<Graph> contents;  ///< canonical contents; nothing: any
    Count count;                    ///< of characters
  };

  /// A list in brackets: items with rules of their own, then any number of others within the bounds.
  struct List {
    char open, close;
    std::vector<RuleId> first;
    std::optional<RuleId> rest;
    std::uint32_t least = 0, most = kUnlimited;
  };

  // schema_compiler.cc
  [[noreturn]] void refuse(NodeId schema, std::string_view keyword, const std::string& expected) const;
  NodeId keyword(NodeId schema, std::string_view name) const { return tree_.find(schema, name); }
  void check(NodeId schema);
  Parts referred(NodeId schema);
  Expanded expand(const Parts& parts);
  void follow_reference(NodeId schema, Parts& work);
  RuleId rule_of(Parts parts);
  void build(RuleId rule, const Parts& parts);
  void set_rule(RuleId rule, const Graph& graph);
  RuleId add_rule(const Graph& graph);
  Graph choice(const Expanded& expanded);

  // one_of.cc
  void require_exclusive(NodeId list);

  // enum_rules.cc
  Graph enumeration(const std::vector<NodeId>& own, NodeId values_of);
  void add_constant(Nfa& nfa, StateId from, std::string_view json, StateId to);
  const std::unordered_set<std::string>& texts_of(NodeId list);
  bool admits(const std::vector<NodeId>& own, const StringRules& strings, NodeId value);
  double remainder(NodeId value, std::uint32_t divisor) const;

  // value_rules.cc
  Graph value(const std::vector<NodeId>& own);
  std::optional<Decimal> decimal_of(NodeId value) const;
  std::uint32_t types(NodeId schema);
  std::uint32_t types(const std::vector<NodeId>& own);
  std::uint32_t type_of(NodeId value) const;
  std::optional<std::uint32_t> count(NodeId schema, std::string_view name);
  void add_number(Nfa& nfa, StateId from, const std::vector<NodeId>& own, bool whole, StateId to);
  std::optional<Bound> bound(const std::vector<NodeId>& own, bool lower);
  std::pair<std::int64_t, std::int64_t> whole_bounds(const std::vector<NodeId>& own);
  std::vector<std::uint32_t> divisors(const std::vector<NodeId>& own);
  Count length(const std::vector<NodeId>& own);
  StringRules string_rules(const std::vector<NodeId>& own);
  std::optional<Graph> uncounted(const StringRules& rules);
  const Graph& pattern(NodeId schema, std::string_view name, std::string_view text);
  void add_string(Nfa& nfa, StateId from, const std::vector<NodeId>& own, StateId to);
  std::optional<RuleId> array(const std::vector<NodeId>& own);

  // object_rules.cc
  void add_object(Nfa& nfa, StateId from, const std::vector<NodeId>& own, StateId to);
  std::vector<Property> properties(const std::vector<NodeId>& own);
  bool forbids(NodeId schema, std::string_view name, Parts& parts);
  std::vector<OtherNames> other_names(const std::vector<NodeId>& own, const std::vector<Property>& known);
  NodeId others_keyword(NodeId schema) const;
  void check_unevaluated(const std::vector<NodeId>& own);
  void check_patterns(const std::vector<NodeId>& own);
  bool is_open(const std::vector<NodeId>& own);
  RuleId member(const std::vector<OtherNames>& others);
  void add_known(Nfa& nfa, StateId from, const std::vector<Property>& known, std::optional<RuleId> member, StateId to);
  RuleId list_rule(const List& list);

  SchemaTree tree_;
  GrammarLimits limits_;
  Budget budget_;
  Automaton automaton_;
  Parts root_;
  NodeId any_schema_ = 0;
  RuleId string_ = 0, blank_ = 0;
  std::map<Parts, RuleId> rules_;
  std::deque<std::pair<RuleId, const Parts*>> open_;
  std::unordered_map<NodeId, bool> checked_;
  std::map<std::string, NodeId, std::less<>> references_;
  std::map<std::string, Graph, std::less<>> patterns_;
  std::unordered_map<NodeId, std::unordered_set<std::string>> enumerated_;
};

}  // namespace kl::grammar
