#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "grammar/automaton.h"
#include "grammar/budget.h"

namespace kl::grammar {

/// A nondeterministic automaton in the making: states joined by byte ranges, by nothing, or by calls of rules.
/// Every state spends from the budget.
class Nfa {
 public:
  explicit Nfa(Budget& budget) : budget_(&budget) {}

  StateId add();
  void edge(StateId from, std::uint8_t low, std::uint8_t high, StateId to);
  void empty(StateId from, StateId to);
  void call(StateId from, RuleId rule, StateId to, Count count = {});

  /// Reads `bytes`; returns the state behind them.
  StateId text(StateId from, std::string_view bytes);
  /// The same, ending in a given state.
  void text(StateId from, std::string_view bytes, StateId to);
  /// Calls a rule; returns the state behind it.
  StateId call(StateId from, RuleId rule, Count count = {});
  /// Adds what a graph without calls reads, from `from` to `to`.
  void graph(StateId from, const Graph& graph, StateId to);

  /// The deterministic automaton of the same language (subset construction); its state 0 is the start.
  Graph determinise(StateId start, StateId final) const;

 private:
  friend class Determiniser;
  struct Link {
    std::uint8_t low, high;
    StateId to;
    std::uint32_t next;  ///< link of the same state, or kNone
  };
  struct CallLink {
    RuleId rule;
    Count count;
    StateId to;
    std::uint32_t next;
  };
  struct Empty {
    StateId to;
    std::uint32_t next;
  };
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;
  struct Node {
    std::uint32_t links = kNone, calls = kNone, empties = kNone;
  };

  Budget* budget_;
  std::vector<Node> nodes_;
  std::vector<Link> links_;
  std::vector<CallLink> calls_;
  std::vector<Empty> empties_;
};

enum class Combine { kBoth, kFirstWithoutSecond };

/// The strings that both graphs read, or that `a` reads and `b` does not.  REQUIRES: no calls, no actions.
Graph combine(const Graph& a, const Graph& b, Combine how, Budget& budget);

/// Does the graph read `bytes`?  REQUIRES: no calls, no actions.
bool reads(const Graph& graph, std::string_view bytes);

}  // namespace kl::grammar
