#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "grammar/automaton.h"
#include "grammar/token_trie.h"
#include "kl/tokenizer.h"

namespace kl::grammar {

inline void set_bit(std::span<std::uint64_t> mask, Token token) {
  mask[static_cast<std::size_t>(token) / 64] |= std::uint64_t{1} << (static_cast<std::uint32_t>(token) % 64);
}
inline bool has_bit(std::span<const std::uint64_t> mask, Token token) {
  return (mask[static_cast<std::size_t>(token) / 64] >> (static_cast<std::uint32_t>(token) % 64) & 1) != 0;
}

/// A vocabulary as masks need it.
struct Vocabulary {
  explicit Vocabulary(const Tokenizer& tokenizer);

  const Tokenizer* tokenizer;
  TokenTrie trie;  ///< of the ranks; control tokens match no text
  std::size_t mask_words;
};

/// What the tokens do from one state of a rule without calls.  Found once by walking the whole trie, it answers for any
/// counter and any way of going on behind the rule:
///
///   - tokens that stay inside the rule, by how many ticks they take;
///   - tokens that leave it, as a trie of what they hold behind the end of the rule: few of many, a string being left by
///     a quote.
class StateMask {
 public:
  StateMask(const Automaton& automaton, StateId state, const Vocabulary& vocabulary);

  /// Adds the tokens that stay inside.
  void add_inside(Count count, std::span<std::uint64_t> mask) const;

  /// Tokens that end with the rule: allowed where it may be left after their ticks.
  void add_ending(Count count, std::span<std::uint64_t> mask) const;

  /// Rests of the tokens that go on behind the rule.
  const TokenTrie& leaving() const { return leaving_; }

  std::size_t memory() const;

 private:
  static constexpr std::uint32_t kMasks = 24;  // prepared masks of tokens with at most 0, 1, ... ticks

  struct Found {
    Token token;
    std::uint32_t ticks;
  };
  void keep(const std::vector<Found>& counted);

  std::vector<std::uint64_t> all_;                   // tokens that stay inside, whatever their ticks
  std::vector<std::vector<std::uint64_t>> at_most_;  // [n]: those with at most n ticks
  std::vector<Found> long_;                          // those with kMasks ticks or more
  std::uint32_t most_ticks_ = 0;
  std::vector<Found> ending_;
  TokenTrie leaving_;
};

/// Masks of the states of one automaton, made when first needed.
///
/// Thread safety: all methods may be called from any thread.
class MaskCache {
 public:
  /// `in_string`: the mask of state kInString, which is the same in every automaton.  All must outlive the cache.
  MaskCache(const Automaton& automaton, const Vocabulary& vocabulary, std::shared_ptr<const StateMask> in_string);

  const Vocabulary& vocabulary() const { return *vocabulary_; }

  /// The mask of a state, or nullptr where walking the trie is as fast: the rule has calls, or few bytes may come next.
  std::shared_ptr<const StateMask> find(StateId state);

  /// Makes the masks that take longest, those of the first states in which many bytes may come, before a text waits.
  void prepare();

  std::size_t memory() const { return memory_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::size_t kMostMemory = 16u << 20;  // beyond it masks are not kept
  static constexpr unsigned kManyBytes = 24, kMostBytes = 48;
  static constexpr int kMostPrepared = 8;

  unsigned next_bytes(StateId state) const;  ///< how many byte values may come next

  const Automaton* automaton_;
  const Vocabulary* vocabulary_;
  std::shared_ptr<const StateMask> in_string_;
  std::shared_mutex mutex_;
  std::unordered_map<StateId, std::shared_ptr<const StateMask>> masks_;  // guarded by mutex_
  std::atomic<std::size_t> memory_ = 0;
};

}  // namespace kl::grammar
