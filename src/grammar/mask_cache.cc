#include "grammar/mask_cache.h"

#include <algorithm>

#include "grammar/schema_compiler.h"

namespace kl::grammar {
namespace {

std::vector<TokenTrie::Text> texts_of_ranks(const Tokenizer& tokenizer) {
  std::vector<TokenTrie::Text> texts;
  texts.reserve(static_cast<std::size_t>(tokenizer.num_ranks()));
  for (Token id = 0; id < tokenizer.num_ranks(); ++id) {
    const std::string_view bytes = tokenizer.bytes_of(id);
    if (!bytes.empty()) texts.push_back({bytes, id});
  }
  return texts;
}

/// The states that a walk meets, each with a row of all bytes, so that a step is one load.
class Rows {
 public:
  struct Step {
    std::uint32_t row = kUnknown;
    std::uint32_t ticks = 0;
  };
  static constexpr std::uint32_t kNowhere = 0xFFFFFFFF;

  Rows(const Automaton& automaton, StateId start) : graph_(automaton.graph) { row_of(start); }

  const State& state(std::uint32_t row) const { return graph_.states[states_[row]]; }

  Step step(std::uint32_t row, std::uint8_t byte) {
    const Step known = steps_[std::size_t{row} * 256 + byte];
    if (known.row != kUnknown) return known;
    const Edge* edge = graph_.find(states_[row], byte);
    const bool possible = edge != nullptr && graph_.states[edge->target].height != kDead;
    Step found{kNowhere, 0};
    if (possible) found = {row_of(edge->target), edge->action == Action::kTick ? 1u : 0u};
    return steps_[std::size_t{row} * 256 + byte] = found;
  }

 private:
  static constexpr std::uint32_t kUnknown = 0xFFFFFFFE;

  std::uint32_t row_of(StateId state) {
    const auto [it, is_new] = rows_.try_emplace(state, static_cast<std::uint32_t>(states_.size()));
    if (is_new) {
      states_.push_back(state);
      steps_.resize(steps_.size() + 256);
    }
    return it->second;
  }

  const Graph& graph_;
  std::unordered_map<StateId, std::uint32_t> rows_;
  std::vector<StateId> states_;
  std::vector<Step> steps_;
};

}  // namespace

Vocabulary::Vocabulary(const Tokenizer& source)
    : tokenizer(&source),
      trie(texts_of_ranks(source)),
      mask_words((static_cast<std::size_t>(source.vocab_size()) + 63) / 64) {}

StateMask::StateMask(const Automaton& automaton, StateId start, const Vocabulary& vocabulary) {
  struct Level {
    std::uint32_t end;
    std::uint32_t row;
    std::uint32_t ticks;
  };
  const TokenTrie& trie = vocabulary.trie;
  Rows rows(automaton, start);
  std::vector<Found> counted;  // tokens inside that take ticks
  std::vector<TokenTrie::Text> leaving;
  all_.resize(vocabulary.mask_words);
  std::vector<Level> path = {{trie.size(), 0, 0}};
  for (std::uint32_t node = 1; node < trie.size();) {
    while (node == path.back().end) path.pop_back();
    const std::uint32_t end = trie.end(node);
    const Rows::Step step = rows.step(path.back().row, trie.byte(node));
    if (step.row == Rows::kNowhere) {
      node = end;
      continue;
    }
    const State& state = rows.state(step.row);
    const std::uint32_t ticks = path.back().ticks + step.ticks;
    const std::uint32_t first_text = trie.first_text(node), first_below = trie.first_text(node + 1);
    for (std::uint32_t text = first_text; text < first_below; ++text) {
      const Found found{trie.token(text), ticks};
      if (state.num_edges > 0) {
        set_bit(all_, found.token);
        if (ticks > 0) counted.push_back(found);
      } else {
        ending_.push_back(found);
      }
    }
    for (std::uint32_t text = first_below; state.final && text < trie.first_text(end); ++text) {
      const Token token = trie.token(text);
      leaving.push_back({vocabulary.tokenizer->bytes_of(token).substr(path.size()), token, ticks});
    }
    if (state.num_edges == 0) {
      node = end;
      continue;
    }
    if (end > node + 1) path.push_back({end, step.row, ticks});
    ++node;
  }
  leaving_ = TokenTrie(std::move(leaving));
  keep(counted);
}

/// Prepares the masks of tokens with few ticks, where any take some.
void StateMask::keep(const std::vector<Found>& counted) {
  if (counted.empty()) return;
  std::vector<std::uint64_t> uncounted = all_;
  for (const Found& found : counted) {
    uncounted[static_cast<std::size_t>(found.token) / 64] &= ~(std::uint64_t{1} << (found.token % 64));
    most_ticks_ = std::max(most_ticks_, found.ticks);
    if (found.ticks >= kMasks) long_.push_back(found);
  }
  at_most_.assign(kMasks, uncounted);
  for (const Found& found : counted) {
    if (found.ticks < kMasks) set_bit(at_most_[found.ticks], found.token);
  }
  for (std::size_t n = 1; n < kMasks; ++n) {
    for (std::size_t word = 0; word < all_.size(); ++word) at_most_[n][word] |= at_most_[n - 1][word];
  }
}

void StateMask::add_inside(Count count, std::span<std::uint64_t> mask) const {
  const bool all = count.room >= most_ticks_;
  const std::vector<std::uint64_t>& add = all ? all_ : at_most_[std::min(count.room, kMasks - 1)];
  for (std::size_t word = 0; word < mask.size(); ++word) mask[word] |= add[word];
  if (all) return;
  for (const Found& found : long_) {
    if (found.ticks <= count.room) set_bit(mask, found.token);
  }
}

void StateMask::add_ending(Count count, std::span<std::uint64_t> mask) const {
  for (const Found& found : ending_) {
    if (count.need <= found.ticks && found.ticks <= count.room) set_bit(mask, found.token);
  }
}

std::size_t StateMask::memory() const {
  return 8 * (all_.size() + at_most_.size() * all_.size()) + sizeof(Found) * (long_.size() + ending_.size()) +
         leaving_.memory();
}

MaskCache::MaskCache(const Automaton& automaton, const Vocabulary& vocabulary,
                     std::shared_ptr<const StateMask> in_string)
    : automaton_(&automaton), vocabulary_(&vocabulary), in_string_(std::move(in_string)) {}

unsigned MaskCache::next_bytes(StateId state) const {
  unsigned sum = 0;
  for (const Edge& edge : automaton_->graph.edges_of(state)) sum += edge.high - edge.low + 1u;
  return sum;
}

void MaskCache::prepare() {
  const std::vector<State>& states = automaton_->graph.states;
  int prepared = 0;
  for (StateId s = kInString + 1; s < states.size() && prepared < kMostPrepared; ++s) {
    if (!states[s].leaf || states[s].height == kDead || next_bytes(s) < kMostBytes) continue;
    find(s);
    ++prepared;
  }
}

std::shared_ptr<const StateMask> MaskCache::find(StateId state) {
  if (state == kInString) return in_string_;
  if (!automaton_->graph.states[state].leaf || next_bytes(state) < kManyBytes) return nullptr;
  {
    const std::shared_lock lock(mutex_);
    const auto it = masks_.find(state);
    if (it != masks_.end()) return it->second;
  }
  const auto mask = std::make_shared<const StateMask>(*automaton_, state, *vocabulary_);
  const std::unique_lock lock(mutex_);
  if (memory() + mask->memory() <= kMostMemory && masks_.emplace(state, mask).second) {
    memory_.fetch_add(mask->memory(), std::memory_order_relaxed);
  }
  return mask;
}

}  // namespace kl::grammar
