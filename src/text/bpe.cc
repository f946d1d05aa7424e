#include "text/bpe.h"

#include <algorithm>
#include <array>
#include <functional>

namespace kl {
namespace {

constexpr std::uint32_t kNoRank = Vocabulary::kNoRank;

/// Up to this length searching all pairs for the least is quicker than keeping a heap.
constexpr std::size_t kShortPiece = 64;

}  // namespace

void BpeEncoder::append(std::string_view piece, std::vector<Token>& ids) {
  const std::uint32_t whole = vocabulary_.rank_of(piece);
  if (whole != kNoRank) {
    ids.push_back(static_cast<Token>(whole));
  } else if (piece.size() <= kShortPiece) {
    append_short(piece, ids);
  } else {
    append_long(piece, ids);
  }
}

/// Part i spans bytes start[i] .. start[i + 1]; pair_rank[i] is the rank of parts i and i + 1 together.
void BpeEncoder::append_short(std::string_view piece, std::vector<Token>& ids) {
  std::array<std::uint8_t, kShortPiece + 1> start;
  std::array<std::uint32_t, kShortPiece> pair_rank;
  std::size_t num_parts = piece.size();
  for (std::size_t i = 0; i <= num_parts; ++i) start[i] = static_cast<std::uint8_t>(i);
  for (std::size_t i = 0; i + 1 < num_parts; ++i) pair_rank[i] = vocabulary_.rank_of_two(piece[i], piece[i + 1]);

  const auto rank_of_parts = [&](std::size_t first, std::size_t last) {
    if (last >= num_parts) return kNoRank;
    return vocabulary_.rank_of(piece.substr(start[first], std::size_t{start[last + 1]} - start[first]));
  };
  while (num_parts > 1) {
    const auto pairs_end = pair_rank.begin() + static_cast<std::ptrdiff_t>(num_parts - 1);
    const auto least = std::min_element(pair_rank.begin(), pairs_end);
    if (*least == kNoRank) break;
    const auto i = static_cast<std::size_t>(least - pair_rank.begin());
    std::copy(start.begin() + i + 2, start.begin() + num_parts + 1, start.begin() + i + 1);
    std::copy(least + 1, pairs_end, least);
    --num_parts;
    pair_rank[i] = rank_of_parts(i, i + 1);
    if (i > 0) pair_rank[i - 1] = rank_of_parts(i - 1, i);
  }
  for (std::size_t i = 0; i < num_parts; ++i) ids.push_back(static_cast<Token>(rank_of_parts(i, i)));
}

/// The heap holds pairs as rank << 32 | first byte, so its top is the least rank and of equals the leftmost.  Entries
/// are never removed from its middle: one whose rank is no longer that of its pair is skipped.  A merged part only
/// grows, so the same rank never comes back at the same place for other bytes.
void BpeEncoder::append_long(std::string_view piece, std::vector<Token>& ids) {
  const auto size = static_cast<std::uint32_t>(piece.size());
  parts_.resize(size);
  heap_.clear();
  for (std::uint32_t i = 0; i < size; ++i) {
    const std::uint32_t rank = i + 1 < size ? vocabulary_.rank_of_two(piece[i], piece[i + 1]) : kNoRank;
    parts_[i] = {1, i - 1, rank};
    if (rank != kNoRank) heap_.push_back(std::uint64_t{rank} << 32 | i);
  }
  const auto greater = std::greater<>();
  std::make_heap(heap_.begin(), heap_.end(), greater);

  const auto update_pair = [&](std::uint32_t first) {
    const std::uint32_t second = first + parts_[first].bytes;
    std::uint32_t rank = kNoRank;
    if (second < size) rank = vocabulary_.rank_of(piece.substr(first, parts_[first].bytes + parts_[second].bytes));
    parts_[first].pair_rank = rank;
    if (rank == kNoRank) return;
    heap_.push_back(std::uint64_t{rank} << 32 | first);
    std::push_heap(heap_.begin(), heap_.end(), greater);
  };
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), greater);
    const auto first = static_cast<std::uint32_t>(heap_.back());
    const auto rank = static_cast<std::uint32_t>(heap_.back() >> 32);
    heap_.pop_back();
    if (parts_[first].pair_rank != rank) continue;

    const std::uint32_t second = first + parts_[first].bytes;
    parts_[first].bytes += parts_[second].bytes;
    parts_[second] = {0, 0, kNoRank};
    const std::uint32_t third = first + parts_[first].bytes;
    if (third < size) parts_[third].previous = first;
    update_pair(first);
    if (first > 0) update_pair(parts_[first].previous);
  }
  for (std::uint32_t i = 0; i < size; i += parts_[i].bytes) {
    ids.push_back(static_cast<Token>(vocabulary_.rank_of(piece.substr(i, parts_[i].bytes))));
  }
}

}  // namespace kl
