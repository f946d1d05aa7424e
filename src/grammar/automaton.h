#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kl::grammar {

using StateId = std::uint32_t;
using RuleId = std::uint32_t;

/// No bound on a Count.
constexpr std::uint32_t kUnlimited = 0xFFFFFFFF;

/// The counter of a rule: how many characters of a string, or items of an array, must and may still come.
struct Count {
  std::uint32_t need = 0;
  std::uint32_t room = kUnlimited;
  bool operator==(const Count&) const = default;
};

/// What taking an edge or a call does to the counter.
enum class Action : std::uint8_t {
  kNone,
  kTick,   ///< one more character or item; forbidden without room
  kMore,   ///< promises one more: forbidden without room
  kLeave,  ///< ends the counted part: forbidden while one is needed
};

/// Applies `action`; false if it is forbidden.
inline bool apply(Action action, Count& count) {
  if (action == Action::kNone) return true;
  if (action == Action::kLeave) return count.need == 0;
  if (count.room == 0) return false;
  if (action == Action::kTick) {
    if (count.need > 0) --count.need;
    if (count.room != kUnlimited) --count.room;
  }
  return true;
}

/// Reads one byte in [low, high].
struct Edge {
  std::uint8_t low = 0, high = 0;
  Action action = Action::kNone;
  StateId target = 0;
};

/// Reads what another rule describes, then goes on in `target`.
struct Call {
  RuleId rule = 0;
  StateId target = 0;
  Count count;  ///< the callee's counter at its start
  Action action = Action::kNone;
};

struct State {
  std::uint32_t first_edge = 0, num_edges = 0;
  std::uint32_t first_call = 0, num_calls = 0;
  bool final = false;  ///< the rule may end here
  bool leaf = false;   ///< no call can be reached within the rule
  /// Calls that must be open at once, at least, to end the rule from here; kDead if it cannot be ended.
  std::uint8_t height = 0;
};
constexpr std::uint8_t kDead = 255;

/// States with their edges and calls, in flat arrays.  The edges of a state are disjoint and ascending, so bytes are
/// read without choice; calls, and ending where one may also go on, are where a matcher follows several ways at once.
struct Graph {
  std::vector<State> states;
  std::vector<Edge> edges;
  std::vector<Call> calls;

  std::span<const Edge> edges_of(StateId s) const { return {edges.data() + states[s].first_edge, states[s].num_edges}; }
  std::span<const Call> calls_of(StateId s) const { return {calls.data() + states[s].first_call, states[s].num_calls}; }

  /// Adds a state; its edges and calls must be added next, before those of any other state.
  StateId add_state(bool final = false);
  void add_edge(std::uint8_t low, std::uint8_t high, StateId target, Action action = Action::kNone);
  void add_call(const Call& call);

  /// Adds all of `other`, whose state 0 becomes the state that is returned.
  StateId append(const Graph& other);

  /// The target of the edge for `byte`, or nullptr.
  const Edge* find(StateId s, std::uint8_t byte) const {
    for (const Edge& edge : edges_of(s)) {
      if (byte <= edge.high) return byte >= edge.low ? &edge : nullptr;
    }
    return nullptr;
  }

  std::size_t bytes() const {
    return states.capacity() * sizeof(State) + edges.capacity() * sizeof(Edge) + calls.capacity() * sizeof(Call);
  }
};

/// A pushdown automaton over bytes: rules that call each other.
///
/// Invariants, after complete():
///   1. A state of height h is entered only where h more calls may be opened (limit `depth`), so every way that was
///      begun can be ended.
///   2. Rules read at least one byte before they call themselves again, except through tail calls.
struct Automaton {
  Graph graph;
  std::vector<StateId> rules;  ///< the start of each rule
  RuleId root = 0;
  std::uint8_t depth = 64;  ///< calls open at once, at most

  /// Nothing follows the state: a call that returns to it need not be remembered.
  bool only_ends(StateId s) const {
    const State& state = graph.states[s];
    return state.final && state.num_edges == 0 && state.num_calls == 0;
  }

  /// Computes `height` and `leaf` of every state.  False if the root cannot be ended within `depth`: nothing matches.
  bool complete();

  std::size_t bytes() const { return graph.bytes() + rules.capacity() * sizeof(StateId); }
};

}  // namespace kl::grammar
