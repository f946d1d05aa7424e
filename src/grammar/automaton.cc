#include "grammar/automaton.h"

#include <algorithm>

namespace kl::grammar {
namespace {

/// For every state the places that mention it, in one array each (compressed rows).
class Mentions {
 public:
  explicit Mentions(std::size_t states) : first_(states + 2) {}

  void count(StateId s) { ++first_[s + 2]; }
  void counted() {
    for (std::size_t i = 2; i < first_.size(); ++i) first_[i] += first_[i - 1];
    places_.resize(first_.back());
  }
  void add(StateId s, std::uint32_t place) { places_[first_[s + 1]++] = place; }
  std::span<const std::uint32_t> of(StateId s) const { return {places_.data() + first_[s], first_[s + 1] - first_[s]}; }

 private:
  std::vector<std::uint32_t> first_, places_;
};

/// Visits (state, edge or call) twice: to count, then to fill.
template <class Add>
void for_each_edge(const Graph& graph, Add add) {
  for (StateId s = 0; s < graph.states.size(); ++s) {
    for (const Edge& edge : graph.edges_of(s)) add(edge.target, s);
  }
}

/// Heights by Dijkstra's algorithm with buckets: a way's height is the most calls open at once along it, so extending a
/// way never lowers it.
class Heights {
 public:
  explicit Heights(Automaton& automaton)
      : automaton_(automaton),
        graph_(automaton.graph),
        preceding_(graph_.states.size()),
        calls_(graph_.states.size()),
        done_(graph_.states.size()),
        buckets_(std::size_t{automaton.depth} + 1) {
    for_each_edge(graph_, [&](StateId target, StateId) { preceding_.count(target); });
    preceding_.counted();
    for_each_edge(graph_, [&](StateId target, StateId from) { preceding_.add(target, from); });
    caller_.resize(graph_.calls.size());
    const auto for_each_call = [&](auto add) {
      for (StateId s = 0; s < graph_.states.size(); ++s) {
        for (std::uint32_t i = 0; i < graph_.states[s].num_calls; ++i) add(s, graph_.states[s].first_call + i);
      }
    };
    for_each_call([&](StateId s, std::uint32_t call) {
      caller_[call] = s;
      calls_.count(graph_.calls[call].target);
      calls_.count(callee(call));
    });
    calls_.counted();
    for_each_call([&](StateId, std::uint32_t call) {
      calls_.add(graph_.calls[call].target, call);
      calls_.add(callee(call), call);
    });
  }

  void compute() {
    for (StateId s = 0; s < graph_.states.size(); ++s) {
      graph_.states[s].height = kDead;
      if (graph_.states[s].final) buckets_[0].push_back(s);
    }
    for (std::size_t height = 0; height < buckets_.size(); ++height) {
      for (std::size_t i = 0; i < buckets_[height].size(); ++i) settle(buckets_[height][i], height);  // it grows
    }
  }

 private:
  StateId callee(std::uint32_t call) const { return automaton_.rules[graph_.calls[call].rule]; }

  void settle(StateId s, std::size_t height) {
    if (done_[s]) return;
    done_[s] = true;
    graph_.states[s].height = static_cast<std::uint8_t>(height);
    for (const StateId from : preceding_.of(s)) {
      if (!done_[from]) buckets_[height].push_back(from);
    }
    for (const std::uint32_t call : calls_.of(s)) {
      const StateId target = graph_.calls[call].target;
      if (!done_[target] || !done_[callee(call)] || done_[caller_[call]]) continue;
      const std::size_t inside = graph_.states[callee(call)].height + (automaton_.only_ends(target) ? 0u : 1u);
      const std::size_t needed = std::max<std::size_t>(graph_.states[target].height, inside);
      if (needed < buckets_.size()) buckets_[needed].push_back(caller_[call]);
    }
  }

  Automaton& automaton_;
  Graph& graph_;
  Mentions preceding_;  // states with an edge to a state
  Mentions calls_;      // calls that return to a state or begin in it
  std::vector<StateId> caller_;
  std::vector<bool> done_;
  std::vector<std::vector<StateId>> buckets_;
};

void mark_leaves(Graph& graph) {
  Mentions preceding(graph.states.size());
  for_each_edge(graph, [&](StateId target, StateId) { preceding.count(target); });
  preceding.counted();
  for_each_edge(graph, [&](StateId target, StateId from) { preceding.add(target, from); });
  std::vector<StateId> work;
  for (StateId s = 0; s < graph.states.size(); ++s) {
    graph.states[s].leaf = graph.states[s].num_calls == 0;
    if (!graph.states[s].leaf) work.push_back(s);
  }
  while (!work.empty()) {
    const StateId s = work.back();
    work.pop_back();
    for (const StateId from : preceding.of(s)) {
      if (!graph.states[from].leaf) continue;
      graph.states[from].leaf = false;
      work.push_back(from);
    }
  }
}

}  // namespace

StateId Graph::add_state(bool final) {
  State state;
  state.first_edge = static_cast<std::uint32_t>(edges.size());
  state.first_call = static_cast<std::uint32_t>(calls.size());
  state.final = final;
  states.push_back(state);
  return static_cast<StateId>(states.size() - 1);
}

void Graph::add_edge(std::uint8_t low, std::uint8_t high, StateId target, Action action) {
  edges.push_back({low, high, action, target});
  ++states.back().num_edges;
}

void Graph::add_call(const Call& call) {
  calls.push_back(call);
  ++states.back().num_calls;
}

StateId Graph::append(const Graph& other) {
  const auto state_shift = static_cast<StateId>(states.size());
  const auto edge_shift = static_cast<std::uint32_t>(edges.size());
  const auto call_shift = static_cast<std::uint32_t>(calls.size());
  for (State state : other.states) {
    state.first_edge += edge_shift;
    state.first_call += call_shift;
    states.push_back(state);
  }
  for (Edge edge : other.edges) {
    edge.target += state_shift;
    edges.push_back(edge);
  }
  for (Call call : other.calls) {
    call.target += state_shift;
    calls.push_back(call);
  }
  return state_shift;
}

bool Automaton::complete() {
  graph.states.shrink_to_fit();
  graph.edges.shrink_to_fit();
  graph.calls.shrink_to_fit();
  Heights(*this).compute();
  mark_leaves(graph);
  return graph.states[rules[root]].height <= depth;
}

}  // namespace kl::grammar
