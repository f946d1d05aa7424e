#include "grammar/regex.h"

#include <algorithm>
#include <vector>

#include "base/utf8.h"
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

/// Where each state leads after enough of one marker that more make no difference: ^^a and a$$ are ^a and a$.
std::vector<StateId> behind(const Graph& marked, std::uint8_t marker) {
  std::vector<StateId> next;
  for (StateId s = 0; s < marked.states.size(); ++s) {
    const Edge* edge = marked.find(s, marker);
    next.push_back(edge != nullptr ? edge->target : s);  // none inside a character, where no text ends
  }
  for (std::size_t steps = 1; steps < next.size(); steps *= 2) {
    for (StateId& state : next) state = next[state];
  }
  return next;
}

/// From an automaton over BEGIN, characters, END to one over the characters alone.
Graph without_markers(const Graph& marked) {
  const std::vector<StateId> begun = behind(marked, kBegin), ended = behind(marked, kEnd);
  Graph graph;
  graph.add_state();
  const StateId shift = 1;  // state s becomes s + shift; state 0 is a copy of the one behind BEGIN
  const auto copy = [&](StateId s) {
    for (const Edge& edge : marked.edges_of(s)) {
      if (edge.low < kBegin) graph.add_edge(edge.low, edge.high, edge.target + shift);
    }
    graph.states.back().final = marked.states[ended[s]].final;
  };
  copy(begun[0]);
  for (StateId s = 0; s < marked.states.size(); ++s) {
    graph.add_state();
    copy(s);
  }
  return graph;
}

/// The contents that match from end to end.
Graph compile_whole(const std::vector<RegexNode>& nodes, Budget& budget) {
  Nfa nfa(budget);
  const StateId from = nfa.add(), to = nfa.add();
  RegexBuilder(nfa, nodes).add(static_cast<std::uint32_t>(nodes.size() - 1), from, to);
  return nfa.determinise(from, to);
}

Graph compile_nodes(const std::vector<RegexNode>& nodes, Budget& budget) {
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

Graph compile_repeated(const CharSet& chars, std::uint32_t least, std::uint32_t most, Budget& budget) {
  RegexNode repeat{Kind::kRepeat, {0}, {}};
  repeat.least = least;
  repeat.most = most;
  return compile_whole({RegexNode{Kind::kChars, {}, chars}, repeat}, budget);
}

/// The repetition in ^[class]{n,m}$, or nullptr.
const RegexNode* counted_class(const std::vector<RegexNode>& nodes) {
  const RegexNode& root = nodes.back();
  if (root.children.size() != 1) return nullptr;
  const RegexNode& sequence = nodes[root.children[0]];
  if (sequence.children.size() != 3) return nullptr;
  const auto part = [&](std::size_t i) -> const RegexNode& { return nodes[sequence.children[i]]; };
  const bool whole = part(0).kind == Kind::kBegin && part(1).kind == Kind::kRepeat && part(2).kind == Kind::kEnd;
  return whole && nodes[part(1).children[0]].kind == Kind::kChars ? &part(1) : nullptr;
}

/// What is still missing of a character in canonical form, after one more byte; 0: it is whole.
enum class Missing : std::uint8_t { kNothing, k1, k2, k3, k4, kEscape };
Missing after(Missing missing, std::uint8_t byte) {
  if (missing == Missing::kEscape) return byte == 'u' ? Missing::k4 : Missing::kNothing;
  if (missing != Missing::kNothing) return static_cast<Missing>(static_cast<int>(missing) - 1);
  if (byte == '\\') return Missing::kEscape;
  return static_cast<Missing>(character_length(static_cast<char>(byte)) - 1);
}

/// Which states lead to a final one.
std::vector<bool> live_states(const Graph& graph) {
  std::vector<std::vector<StateId>> preceding(graph.states.size());
  std::vector<bool> live(graph.states.size());
  std::vector<StateId> work;
  for (StateId s = 0; s < graph.states.size(); ++s) {
    for (const Edge& edge : graph.edges_of(s)) preceding[edge.target].push_back(s);
    if (graph.states[s].final) work.push_back(s);
  }
  while (!work.empty()) {
    const StateId s = work.back();
    work.pop_back();
    if (live[s]) continue;
    live[s] = true;
    work.insert(work.end(), preceding[s].begin(), preceding[s].end());
  }
  return live;
}

}  // namespace

Graph compile_pattern(std::string_view pattern, Budget& budget) { return compile_nodes(parse_regex(pattern), budget); }

Texts compile_counted_pattern(std::string_view pattern, Budget& budget) {
  const std::vector<RegexNode> nodes = parse_regex(pattern);
  const RegexNode* repeat = counted_class(nodes);
  if (repeat == nullptr) return {compile_nodes(nodes, budget), {}};
  return {compile_repeated(nodes[repeat->children[0]].chars, 0, kUnlimited, budget), {repeat->least, repeat->most}};
}

Graph compile_length(std::uint32_t least, std::uint32_t most, Budget& budget) {
  return compile_repeated(any_character(), least, most, budget);
}

std::optional<Graph> counted_rest(const Graph& contents, Count& count) {
  const std::vector<bool> live = live_states(contents);
  std::vector<std::optional<Missing>> missing(contents.states.size());  // by state; nothing: not reached
  std::vector<StateId> reached = {0};
  missing[0] = Missing::kNothing;
  for (std::size_t i = 0; i < reached.size(); ++i) {  // it grows
    const StateId s = reached[i];
    bool goes_on = false;
    for (const Edge& edge : contents.edges_of(s)) {
      if (!live[edge.target]) continue;
      goes_on = true;
      if (missing[edge.target]) continue;
      missing[edge.target] = after(*missing[s], edge.low);
      reached.push_back(edge.target);
    }
    const bool between = missing[s] == Missing::kNothing;
    if (between && !goes_on) return {};
    if (between && !contents.states[s].final && s != 0) return {};
  }
  if (!contents.states[0].final) count.need = std::max(count.need, 1u);
  if (count.need > count.room) return {};

  Graph graph;
  const auto end = static_cast<StateId>(contents.states.size());
  for (StateId s = 0; s < end; ++s) {
    graph.add_state();
    const bool between = missing[s] == Missing::kNothing;
    bool quoted = !between || !contents.states[s].final;
    const auto add_quote = [&] {
      if (!quoted) graph.add_edge('"', '"', end, Action::kLeave);
      quoted = true;
    };
    for (const Edge& edge : contents.edges_of(s)) {
      if (edge.low > '"') add_quote();
      if (live[edge.target]) graph.add_edge(edge.low, edge.high, edge.target, between ? Action::kTick : Action::kNone);
    }
    add_quote();
  }
  graph.add_state(true);
  return graph;
}

}  // namespace kl::grammar
