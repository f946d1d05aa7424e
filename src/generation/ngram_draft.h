#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kl/tokenizer.h"

namespace kl {

/// What a text may go on with.
struct Draft {
  std::vector<Token> tokens;  ///< empty: no idea
  int match = 0;              ///< how many tokens before it are the same as where it was found
};

/// Prompt lookup: a text goes on as it did the last time its end occurred.  Good at quoting, editing and code, where
/// most of what is written stands in the prompt already; it costs no model.
///
/// Pairs of tokens are chained from the newest to the oldest, as compressors do; the longest match among the newest few
/// wins, of equals the newest.  Time per token is bounded, memory linear: 12 to 16 bytes a token.
class NgramDraft {
 public:
  static constexpr int kLeastMatch = 2, kMostMatch = 16;
  static constexpr int kMostCandidates = 64;  ///< places looked at for one draft

  /// The text so far, piece by piece: prompt, then what is drawn.
  void append(std::span<const Token> tokens);

  /// At most `most` tokens that may follow.  A text that repeats itself is drafted to go on doing so.
  Draft draft(int most) const;

 private:
  std::uint32_t& newest_like(std::size_t end);
  int match_length(std::size_t end) const;

  // Places are counts of tokens: the place after a pair.  0: none.
  std::vector<Token> text_;
  std::vector<std::uint32_t> newest_;   // [a power of two] last place after a pair of this hash
  std::vector<std::uint32_t> earlier_;  // [text] place - 1 -> the place before it in its chain
};

}  // namespace kl
