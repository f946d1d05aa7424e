#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "kl/tokenizer.h"
#include "text/vocabulary.h"

namespace kl {

/// Byte pair encoding by rank.  A piece starts as single bytes; as long as two neighbours together are a token, the
/// pair of the lowest rank is merged, the leftmost of equals first.
///
///     "lower" with er = 256, lo = 257, low = 258:   l o w e r  →  l o w er  →  lo w er  →  low er
///
/// Holds scratch memory, so that encoding piece after piece allocates nothing.  Not thread-safe: one per call of
/// encode().
class BpeEncoder {
 public:
  /// `vocabulary` must outlive the encoder.
  explicit BpeEncoder(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  /// Appends the ids of one piece.  A piece that is a token as a whole is that token, whatever merging would give.
  /// Time: O(n log n) in the bytes of the piece.  REQUIRES: 0 < piece.size() <= kMaxPieceBytes.
  void append(std::string_view piece, std::vector<Token>& ids);

  static constexpr std::size_t kMaxPieceBytes = std::size_t{1} << 30;

 private:
  void append_short(std::string_view piece, std::vector<Token>& ids);
  void append_long(std::string_view piece, std::vector<Token>& ids);

  /// A run of bytes already merged, in a doubly linked list.  Parts are addressed by their first byte.
  struct Part {
    std::uint32_t bytes;      // 0: merged into the part before
    std::uint32_t previous;   // first byte of the part before; unused for the first part
    std::uint32_t pair_rank;  // of this part and the next together
  };

  const Vocabulary& vocabulary_;
  std::vector<Part> parts_;
  std::vector<std::uint64_t> heap_;
};

}  // namespace kl
