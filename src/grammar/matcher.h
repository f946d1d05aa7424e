#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/random.h"
#include "grammar/automaton.h"
#include "grammar/mask_cache.h"
#include "grammar/token_trie.h"

namespace kl::grammar {

/// Where a text stands in an automaton: all the ways in which its bytes can be read, each a state with its counter and
/// the calls it must return to.
///
/// Copying a matcher is taking a snapshot.  Memory: at most kMostWays ways, whose calls share their frames.
///
/// Invariant: each way can be read to its end (Automaton, invariant 1), so leaving out ways beyond kMostWays loses
/// texts but never leads to a dead end or to a wrong text.
class Matcher {
 public:
  /// At the start of the root rule.  `automaton` must outlive the matcher.
  explicit Matcher(const Automaton& automaton);

  /// Reads bytes; false, and no way left, if they do not fit.
  bool read(std::string_view bytes);

  /// May the text end here?
  bool may_end() const { return may_end_; }
  /// Can it go on?
  bool may_continue() const { return !ways_.empty(); }

  /// Adds to `mask` every token whose bytes can be read from here.
  void add_allowed(MaskCache& masks, std::span<std::uint64_t> mask);

  static constexpr std::size_t kMostWays = 256;

 private:
  static constexpr std::int32_t kNoFrame = -1;

  /// A call that is open: where to go on, with which counter.
  struct Frame {
    StateId state;
    Count count;
    std::int32_t parent;
    std::uint32_t depth;
    bool operator==(const Frame&) const = default;
  };
  struct Way {
    StateId state;
    Count count;
    std::int32_t frame;
    bool operator==(const Way&) const = default;
  };

  struct Hash {
    std::size_t operator()(const Way& way) const noexcept {
      const std::uint64_t a = std::uint64_t{way.state} << 32 | static_cast<std::uint32_t>(way.frame);
      const std::uint64_t b = std::uint64_t{way.count.need} << 32 | way.count.room;
      return static_cast<std::size_t>((a * kGoldenRatio64) ^ (b * 0xC2B2AE3D27D4EB4Fu) >> 7);
    }
  };

  void begin_step();
  bool is_new(const Way& way);
  void settle();
  void follow(const Way& way);
  void step(std::span<const Way> from, std::uint8_t byte);
  std::int32_t open(const Frame& frame);
  void forget_unused_frames();
  void walk(const TokenTrie& trie, std::vector<Way> start, Count count, std::span<std::uint64_t> mask);
  void leave(const Way& way);

  const Automaton* automaton_;
  std::vector<Way> ways_;  ///< in states with edges, all different
  std::vector<Frame> frames_;
  bool may_end_ = false;

  // Of the step at hand.
  std::vector<Way> reached_, pending_, seen_;
  std::unordered_set<Way, Hash> many_seen_;  ///< the same as seen_ once these are many
  bool reached_end_ = false;
  std::size_t first_new_frame_ = 0;
};

}  // namespace kl::grammar
