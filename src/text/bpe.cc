#include "text/bpe.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>

namespace kl {
namespace {

constexpr std::uint32_t kNoRank = Vocabulary::kNoRank;

constexpr std::size_t kMaxMet = 4096;  // 128 KiB

/// A part whose pair with the next part is a token, and the rank of that token.
struct Pair {
  std::uint32_t first;
  std::uint32_t rank;  // kNoRank: there is no pair left
};

/// The pairs of a short piece: looking at all of them for the least is quicker than keeping a heap.
class FewPairs {
 public:
  static constexpr std::uint32_t kMaxBytes = 64;

  explicit FewPairs(std::uint32_t size) : size_(size) {}

  void set(std::uint32_t first, std::uint32_t rank) noexcept {
    keys_[first] = rank == kNoRank ? kNone : static_cast<std::int32_t>(rank * kMaxBytes + first);
  }

  Pair least() const noexcept {
    std::int32_t least = kNone;
    for (std::uint32_t i = 0; i < size_; ++i) least = std::min(least, keys_[i]);
    if (least == kNone) return {0, kNoRank};
    const auto key = static_cast<std::uint32_t>(least);
    return {key % kMaxBytes, key / kMaxBytes};
  }

 private:
  static constexpr std::int32_t kNone = INT32_MAX;
  static_assert(std::uint64_t{Vocabulary::kMaxRanks} * kMaxBytes < kNone);

  std::uint32_t size_;
  // Rank and place in one number, so that the least is the leftmost where several are equal.
  std::array<std::int32_t, kMaxBytes> keys_;
};

/// The pairs of a long piece, in a heap of rank << 32 | first.  Entries are never removed from its middle: one whose
/// rank is no longer that of its pair is skipped.  Parts only grow, so a rank never comes back for other bytes.
class ManyPairs {
 public:
  ManyPairs(std::uint32_t size, std::vector<std::uint32_t>& ranks, std::vector<std::uint64_t>& heap)
      : ranks_(ranks), heap_(heap) {
    ranks_.assign(size, kNoRank);
    heap_.clear();
  }

  void set(std::uint32_t first, std::uint32_t rank) {
    ranks_[first] = rank;
    if (rank == kNoRank) return;
    heap_.push_back(std::uint64_t{rank} << 32 | first);
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  }

  Pair least() {
    while (!heap_.empty()) {
      const Pair pair{static_cast<std::uint32_t>(heap_.front()), static_cast<std::uint32_t>(heap_.front() >> 32)};
      if (ranks_[pair.first] == pair.rank) return pair;
      std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
      heap_.pop_back();
    }
    return {0, kNoRank};
  }

 private:
  std::vector<std::uint32_t>& ranks_;
  std::vector<std::uint64_t>& heap_;
};

}  // namespace

template <class Pairs>
void BpeEncoder::merge(std::string_view piece, Pairs pairs) {
  const auto size = static_cast<std::uint32_t>(piece.size());
  if (parts_.size() < size) parts_.resize(size);
  for (std::uint32_t i = 0; i < size; ++i) {
    parts_[i] = {i + 1, i - 1, vocabulary_.rank_of_byte(piece[i])};
    pairs.set(i, i + 1 < size ? vocabulary_.rank_of_two(piece[i], piece[i + 1]) : kNoRank);
  }
  const auto rank_of_pair = [&](std::uint32_t first) {
    const std::uint32_t second = parts_[first].end;
    return second < size ? vocabulary_.rank_of(piece.substr(first, parts_[second].end - first)) : kNoRank;
  };
  for (Pair pair = pairs.least(); pair.rank != kNoRank; pair = pairs.least()) {
    Part& merged = parts_[pair.first];
    const std::uint32_t second = merged.end;
    merged.end = parts_[second].end;
    merged.rank = pair.rank;
    if (merged.end < size) parts_[merged.end].previous = pair.first;
    pairs.set(second, kNoRank);
    pairs.set(pair.first, rank_of_pair(pair.first));
    if (pair.first > 0) pairs.set(merged.previous, rank_of_pair(merged.previous));
  }
  for (std::uint32_t i = 0; i < size; i = parts_[i].end) ids_.push_back(static_cast<Token>(parts_[i].rank));
}

BpeEncoder::BpeEncoder(const Vocabulary& vocabulary, std::size_t text_bytes, std::vector<Token>& ids)
    : vocabulary_(vocabulary), ids_(ids), met_(std::bit_ceil(std::clamp<std::size_t>(text_bytes / 64, 1, kMaxMet))) {}

void BpeEncoder::append(std::string_view piece) {
  const std::uint32_t whole = vocabulary_.rank_of(piece);
  if (whole != kNoRank) {
    ids_.push_back(static_cast<Token>(whole));
    return;
  }
  Met& met = met_[std::hash<std::string_view>()(piece) & (met_.size() - 1)];
  if (met.piece == piece) {
    for (std::size_t i = 0; i < met.num_ids; ++i) ids_.push_back(ids_[met.first_id + i]);
    return;
  }
  const std::size_t first_id = ids_.size();
  const auto size = static_cast<std::uint32_t>(piece.size());
  if (size <= FewPairs::kMaxBytes) {
    merge(piece, FewPairs(size));
  } else {
    merge(piece, ManyPairs(size, pair_ranks_, heap_));
  }
  met = {piece, first_id, ids_.size() - first_id};
}

}  // namespace kl
