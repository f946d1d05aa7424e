#include "grammar/nfa.h"

#include <algorithm>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "base/random.h"

namespace kl::grammar {

StateId Nfa::add() {
  budget_->spend_states(1);
  nodes_.emplace_back();
  return static_cast<StateId>(nodes_.size() - 1);
}

void Nfa::edge(StateId from, std::uint8_t low, std::uint8_t high, StateId to) {
  budget_->spend_steps(1);
  links_.push_back({low, high, to, nodes_[from].links});
  nodes_[from].links = static_cast<std::uint32_t>(links_.size() - 1);
}

void Nfa::empty(StateId from, StateId to) {
  budget_->spend_steps(1);
  empties_.push_back({to, nodes_[from].empties});
  nodes_[from].empties = static_cast<std::uint32_t>(empties_.size() - 1);
}

void Nfa::call(StateId from, RuleId rule, StateId to, Count count) {
  budget_->spend_steps(1);
  calls_.push_back({rule, count, to, nodes_[from].calls});
  nodes_[from].calls = static_cast<std::uint32_t>(calls_.size() - 1);
}

StateId Nfa::text(StateId from, std::string_view bytes) {
  for (const char c : bytes) {
    const StateId to = add();
    edge(from, static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(c), to);
    from = to;
  }
  return from;
}

void Nfa::text(StateId from, std::string_view bytes, StateId to) { empty(text(from, bytes), to); }

StateId Nfa::call(StateId from, RuleId rule, Count count) {
  const StateId to = add();
  call(from, rule, to, count);
  return to;
}

void Nfa::graph(StateId from, const Graph& graph, StateId to) {
  const auto shift = static_cast<StateId>(nodes_.size());
  for (std::size_t i = 0; i < graph.states.size(); ++i) add();
  for (StateId s = 0; s < graph.states.size(); ++s) {
    for (const Edge& e : graph.edges_of(s)) edge(s + shift, e.low, e.high, e.target + shift);
    if (graph.states[s].final) empty(s + shift, to);
  }
  empty(from, shift);
}

namespace {

struct HashSubset {
  std::size_t operator()(const std::vector<StateId>& subset) const noexcept {
    std::uint64_t hash = subset.size();
    for (const StateId s : subset) {
      hash = (hash ^ s) * kGoldenRatio64;
      hash ^= hash >> 32;
    }
    return static_cast<std::size_t>(hash);
  }
};

/// Adds an edge, or widens the last one if both lead to the same place.
void add_or_widen(Graph& graph, std::uint8_t low, std::uint8_t high, StateId target) {
  if (graph.states.back().num_edges > 0) {
    Edge& last = graph.edges.back();
    if (last.target == target && last.high + 1 == low) {
      last.high = high;
      return;
    }
  }
  graph.add_edge(low, high, target);
}

}  // namespace

/// Subset construction.  A state of the result is the set of states in which the original may be.
class Determiniser {
 public:
  Determiniser(const Nfa& nfa, StateId final) : nfa_(nfa), final_(final), stamp_(nfa.nodes_.size()) {}

  Graph run(StateId start) {
    id_of({start});
    for (std::size_t i = 0; i < subsets_.size(); ++i) expand(*subsets_[i]);  // it grows
    return std::move(result_);
  }

 private:
  /// The number of the state that stands for `states` and all that follows them by empty links.
  StateId id_of(std::vector<StateId> states) {
    ++round_;
    for (const StateId s : states) stamp_[s] = round_;
    for (std::size_t i = 0; i < states.size(); ++i) {
      for (std::uint32_t e = nfa_.nodes_[states[i]].empties; e != Nfa::kNone; e = nfa_.empties_[e].next) {
        const StateId to = nfa_.empties_[e].to;
        if (stamp_[to] == round_) continue;
        stamp_[to] = round_;
        states.push_back(to);
      }
    }
    nfa_.budget_->spend_steps(4 * states.size());
    // States with nothing but empty links say nothing any more.
    std::erase_if(states, [&](StateId s) {
      return s != final_ && nfa_.nodes_[s].links == Nfa::kNone && nfa_.nodes_[s].calls == Nfa::kNone;
    });
    std::sort(states.begin(), states.end());
    const auto [it, is_new] = ids_.try_emplace(std::move(states), static_cast<StateId>(subsets_.size()));
    if (is_new) {
      nfa_.budget_->spend_states(1);
      subsets_.push_back(&it->first);
    }
    return it->second;
  }

  void expand(const std::vector<StateId>& subset) {
    result_.add_state(std::binary_search(subset.begin(), subset.end(), final_));
    expand_edges(subset);
    expand_calls(subset);
  }

  /// Sweeps over the byte values; `active` holds the links that contain the current one.
  void expand_edges(const std::vector<StateId>& subset) {
    std::vector<Nfa::Link> links;
    for (const StateId s : subset) {
      for (std::uint32_t l = nfa_.nodes_[s].links; l != Nfa::kNone; l = nfa_.links_[l].next) {
        links.push_back(nfa_.links_[l]);
      }
    }
    nfa_.budget_->spend_steps(links.size());
    std::sort(links.begin(), links.end(), [](const auto& a, const auto& b) { return a.low < b.low; });
    std::vector<Nfa::Link> active;
    std::size_t next = 0;
    int low = 0;
    while (next < links.size() || !active.empty()) {
      if (active.empty()) low = links[next].low;
      while (next < links.size() && links[next].low == low) active.push_back(links[next++]);
      int high = next < links.size() ? links[next].low - 1 : 255;
      for (const auto& link : active) high = std::min<int>(high, link.high);
      nfa_.budget_->spend_steps(active.size());
      std::vector<StateId> targets;
      for (const auto& link : active) targets.push_back(link.to);
      std::sort(targets.begin(), targets.end());
      targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
      add_or_widen(result_, static_cast<std::uint8_t>(low), static_cast<std::uint8_t>(high), id_of(std::move(targets)));
      std::erase_if(active, [high](const auto& link) { return link.high <= high; });
      low = high + 1;
    }
  }

  void expand_calls(const std::vector<StateId>& subset) {
    std::vector<Nfa::CallLink> calls;
    for (const StateId s : subset) {
      for (std::uint32_t c = nfa_.nodes_[s].calls; c != Nfa::kNone; c = nfa_.calls_[c].next) {
        calls.push_back(nfa_.calls_[c]);
      }
    }
    const auto key = [](const Nfa::CallLink& c) { return std::tuple(c.rule, c.count.need, c.count.room); };
    std::stable_sort(calls.begin(), calls.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
    for (std::size_t begin = 0, end = 0; begin < calls.size(); begin = end) {
      std::vector<StateId> targets;
      for (; end < calls.size() && key(calls[end]) == key(calls[begin]); ++end) targets.push_back(calls[end].to);
      std::sort(targets.begin(), targets.end());
      targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
      result_.add_call({calls[begin].rule, id_of(std::move(targets)), calls[begin].count, Action::kNone});
    }
  }

  const Nfa& nfa_;
  StateId final_;
  std::vector<std::uint32_t> stamp_;
  std::uint32_t round_ = 0;
  std::unordered_map<std::vector<StateId>, StateId, HashSubset> ids_;
  std::vector<const std::vector<StateId>*> subsets_;
  Graph result_;
};

Graph Nfa::determinise(StateId start, StateId final) const { return Determiniser(*this, final).run(start); }

Graph combine(const Graph& a, const Graph& b, Combine how, Budget& budget) {
  constexpr StateId kNowhere = 0xFFFFFFFF;  // where `b` reads nothing any more
  std::unordered_map<std::uint64_t, StateId> ids;
  std::vector<std::pair<StateId, StateId>> pairs;
  const auto id_of = [&](StateId x, StateId y) {
    const auto [it, is_new] = ids.try_emplace(std::uint64_t{x} << 32 | y, static_cast<StateId>(pairs.size()));
    if (is_new) {
      budget.spend_states(1);
      pairs.emplace_back(x, y);
    }
    return it->second;
  };
  Graph result;
  id_of(0, 0);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const auto [x, y] = pairs[i];
    const bool second = y != kNowhere && b.states[y].final;
    result.add_state(a.states[x].final && (how == Combine::kBoth ? second : !second));
    for (const Edge& edge : a.edges_of(x)) {
      int low = edge.low;
      const auto until = [&](int high, StateId to) {  // [low, high] leads to `to` in b
        if (high < low) return;
        if (how == Combine::kFirstWithoutSecond || to != kNowhere) {
          add_or_widen(result, static_cast<std::uint8_t>(low), static_cast<std::uint8_t>(high), id_of(edge.target, to));
        }
        low = high + 1;
      };
      if (y != kNowhere) {
        for (const Edge& other : b.edges_of(y)) {
          if (other.high < low || other.low > edge.high) continue;
          until(other.low - 1, kNowhere);
          until(std::min(other.high, edge.high), other.target);
        }
      }
      until(edge.high, kNowhere);
      budget.spend_steps(1);
    }
  }
  return result;
}

bool reads(const Graph& graph, std::string_view bytes) {
  StateId state = 0;
  for (const char c : bytes) {
    const Edge* edge = graph.find(state, static_cast<std::uint8_t>(c));
    if (edge == nullptr) return false;
    state = edge->target;
  }
  return graph.states[state].final;
}

}  // namespace kl::grammar
