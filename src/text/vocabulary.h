#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kl/tokenizer.h"

namespace kl {

/// The ranks of a tiktoken.model file: which byte strings are tokens, and which of two is merged first.
/// A token's rank is its id.
///
/// Invariants
///   (1) ranks are 0 .. size()-1 without a gap, and no two tokens have the same bytes;
///   (2) every single byte is a token, so any bytes can be encoded.
/// Thread safety: constant after parse().
class Vocabulary {
 public:
  /// "No such token".  Compares greater than every rank, so the least rank of several look-ups needs no special case.
  static constexpr std::uint32_t kNoRank = UINT32_MAX;

  /// Longer tokens are taken for a sign of corruption; the longest of the family has 256 bytes.
  static constexpr std::size_t kMaxTokenBytes = 4096;

  /// A larger file is refused: the family's has 2.8 MB.  A line has at least seven bytes, which bounds the ranks.
  static constexpr std::size_t kMaxFileBytes = 100'000'000;
  static constexpr std::uint32_t kMaxRanks = kMaxFileBytes / 7 + 1;

  /// Parses the text of a tiktoken.model file: lines of "base64 rank\n", in the order of the ranks from 0.
  /// `name` stands for the file in messages.  Throws Error(kCorrupt) with the line at the first breach.
  static Vocabulary parse(std::string_view text, const std::string& name);

  /// The same from the bytes of every token, rank after rank.
  static Vocabulary from_tokens(std::span<const std::string> tokens, const std::string& name);

  std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(starts_.size() - 1); }

  /// REQUIRES: rank < size().
  std::string_view bytes_of(std::uint32_t rank) const noexcept {
    return {bytes_.data() + starts_[rank], starts_[rank + 1] - starts_[rank]};
  }

  /// The rank of these bytes or kNoRank.
  std::uint32_t rank_of(std::string_view bytes) const noexcept;

  std::uint32_t rank_of_byte(char byte) const noexcept { return byte_ranks_[static_cast<unsigned char>(byte)]; }

  /// rank_of() for two bytes without hashing: most look-ups of BPE are of this kind.
  std::uint32_t rank_of_two(char first, char second) const noexcept {
    return two_byte_ranks_[static_cast<unsigned char>(first) << 8 | static_cast<unsigned char>(second)];
  }

 private:
  /// A slot of the hash table, which is open addressed with linear probing.  It holds the first eight bytes of its
  /// token, zeros behind a shorter one, so that most look-ups touch one cache line.
  struct Slot {
    std::uint64_t head = 0;
    std::uint32_t rank = kNoRank;  // kNoRank: free
    std::uint32_t size = 0;        // bytes of the token
  };

  struct Key;
  std::size_t find_slot(const Key& key) const noexcept;
  void append(std::string_view token, const std::string& name);
  void build_tables(const std::string& name);

  std::string bytes_;                        // all tokens, one after the other
  std::vector<std::uint32_t> starts_ = {0};  // [size + 1], where each begins in bytes_
  std::size_t longest_ = 0;                  // bytes
  std::vector<Slot> slots_;                  // a power of two, at most half full

  // One bit for each token, chosen by its hash: where it is 0, no token is looked for.  A sixteenth of the slots in
  // size, it stays in a nearer cache than they do, and most look-ups of BPE find nothing.  +15 % on mixed text
  // (bench/tokenizer_bench.cc).
  std::vector<std::uint64_t> filter_;
  int filter_shift_ = 0;  // the word of a hash is hash >> filter_shift_

  std::array<std::uint32_t, 256> byte_ranks_;
  std::vector<std::uint32_t> two_byte_ranks_;  // [65536]
};

}  // namespace kl
