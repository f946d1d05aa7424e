#include "grammar/regex.h"

#include <vector>

#include "grammar/characters.h"
#include "grammar/nfa.h"
#include "grammar/regex_parser.h"

namespace kl::grammar {
namespace {

using Kind = RegexNode::Kind;

// A text is read as BEGIN, its characters, END, so that ^ and $ are characters like any other.  Two bytes that no UTF-8
// contains stand for them.
constexpr std::uint8_t kBegin = 0xFE, kEnd = 0xFF;

/// Adds the parts of a pattern to an automaton, with a list of what is still to be added in place of recursion.
class RegexBuilder {
 public:
  RegexBuilder(Nfa& nfa, const std::vector<RegexNode>& nodes) : nfa_(nfa), nodes_(nodes) {}

  void add(std::uint32_t root, StateId from, StateId to) {
    work_.push_back({root, from, to});
    while (!work_.empty()) {
      const Task task = work_.back();
      work_.pop_back();
      add_one(task);
    }
  }

 private:
  struct Task {
    std::uint32_t node;
    StateId from, to;
  };

  void add_one(const Task& task) {
    const RegexNode& node = nodes_[task.node];
    switch (node.kind) {
      case Kind::kBegin:
        nfa_.edge(task.from, kBegin, kBegin, task.to);
        return;
      case Kind::kEnd:
        nfa_.edge(task.from, kEnd, kEnd, task.to);
        return;
      case Kind::kChars:
        add_characters(nfa_, task.from, node.chars, task.to);
        return;
      case Kind::kChoice:
        for (const std::uint32_t child : node.children) work_.push_back({child, task.from, task.to});
        return;
      case Kind::kSequence:
        add_sequence(task, node);
        return;
      case Kind::kRepeat:
        add_repeat(task, node);
        return;
    }
  }

  void add_sequence(const Task& task, const RegexNode& node) {
    StateId at = task.from;
    for (const std::uint32_t child : node.children) {
      const StateId next = nfa_.add();
      work_.push_back({child, at, next});
      at = next;
    }
    nfa_.empty(at, task.to);
  }

  void add_repeat(const Task& task, const RegexNode& node) {
    const std::uint32_t child = node.children[0];
    StateId at = task.from;
    const auto once = [&] {
      const StateId next = nfa_.add();
      work_.push_back({child, at, next});
      at = next;
    };
    for (std::uint32_t i = 0; i < node.least; ++i) once();
    if (node.most == kUnlimited) {
      const StateId loop = nfa_.add();
      nfa_.empty(at, loop);
      work_.push_back({child, loop, loop});
      at = loop;
    }
    for (std::uint32_t i = node.least; node.most != kUnlimited && i < node.most; ++i) {
      nfa_.empty(at, task.to);
      once();
    }
    nfa_.empty(at, task.to);
  }

  Nfa& nfa_;
  const std::vector<RegexNode>& nodes_;
  std::vector<Task> work_;
};

/// From an automaton over BEGIN, characters, END to one over the characters alone.
Graph without_markers(const Graph& marked) {
  Graph graph;
  const Edge* begin = marked.find(0, kBegin);
  graph.add_state();
  if (begin == nullptr) return graph;
  const StateId shift = 1;  // state s becomes s + shift; state 0 is a copy of the one behind BEGIN
  const auto copy = [&](StateId s) {
    for (const Edge& edge : marked.edges_of(s)) {
      if (edge.low < kBegin) graph.add_edge(edge.low, edge.high, edge.target + shift);
    }
    const Edge* end = marked.find(s, kEnd);
    graph.states.back().final = end != nullptr && marked.states[end->target].final;
  };
  copy(begin->target);
  for (StateId s = 0; s < marked.states.size(); ++s) {
    graph.add_state();
    copy(s);
  }
  return graph;
}

}  // namespace

Graph compile_pattern(std::string_view pattern, Budget& budget) {
  const std::vector<RegexNode> nodes = parse_regex(pattern);
  budget.spend_steps(nodes.size());
  Nfa nfa(budget);
  const StateId before = nfa.add(), after = nfa.add();
  for (const StateId loop : {before, after}) {  // the pattern may be found anywhere
    add_characters(nfa, loop, any_character(), loop);
    nfa.edge(loop, kBegin, kEnd, loop);
  }
  RegexBuilder(nfa, nodes).add(static_cast<std::uint32_t>(nodes.size() - 1), before, after);
  return without_markers(nfa.determinise(before, after));
}

Graph compile_length(std::uint32_t least, std::uint32_t most, Budget& budget) {
  RegexNode any{Kind::kChars, {}, any_character()};
  RegexNode repeat{Kind::kRepeat, {0}, {}};
  repeat.least = least;
  repeat.most = most;
  const std::vector<RegexNode> nodes = {any, repeat};
  Nfa nfa(budget);
  const StateId from = nfa.add(), to = nfa.add();
  RegexBuilder(nfa, nodes).add(1, from, to);
  return nfa.determinise(from, to);
}

}  // namespace kl::grammar
