#pragma once
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/kernels.h"
#include "kl/model_args.h"

namespace kl {

/// What an MLA layer remembers of one sequence: per token its normalised latent c [R] and its shared key part k_pe [P],
/// 576 numbers at 48B instead of the 10,240 that expanded keys and values of 32 heads would take.
///
/// Invariants
///   1. Rows lie in blocks of kKeyBlock, block i holding positions i * kKeyBlock onward: attention walks the same
///      blocks whoever asks and whenever, which is why results do not depend on how a prompt was cut.
///   2. Rows are only ever appended, and the last ones dropped.  Copies share blocks; whoever appends to a shared
///      block, one that was full before rows were dropped included, first copies it.
class MlaCache {
 public:
  /// An empty memory.
  MlaCache(const ModelArgs& args, LatentType type) : format_{type, args.kv_lora_rank, args.qk_rope_head_dim} {}

  /// A memory of `num_tokens` rows in blocks of block_floats() each.  Full ones are never written to.
  MlaCache(const LatentFormat& format, std::vector<std::shared_ptr<AlignedBuffer>> blocks, std::int64_t num_tokens)
      : format_(format), num_tokens_(num_tokens), blocks_(std::move(blocks)) {}

  /// Makes room for `count` more rows.  All allocation happens here; may throw std::bad_alloc, changing nothing then.
  void reserve(std::int64_t count);

  /// Counts `count` rows as present; the caller fills them.  REQUIRES: reserve()d.
  void append(std::int64_t count) noexcept { num_tokens_ += count; }

  /// Drops all rows from position num_tokens on.  REQUIRES: num_tokens of them or more.
  void truncate(std::int64_t num_tokens) noexcept { num_tokens_ = num_tokens; }

  /// Appends `count` rows equal to those present, in order, over and over.  REQUIRES: reserve()d and not empty.
  void repeat(std::int64_t count) noexcept;

  std::int64_t num_tokens() const noexcept { return num_tokens_; }  ///< rows present
  const LatentFormat& format() const noexcept { return format_; }   ///< how they lie

  /// Row of position `pos` in the format; rows up to the end of its block follow.
  std::byte* row(std::int64_t pos) noexcept {
    auto* block = reinterpret_cast<std::byte*>(blocks_[static_cast<std::size_t>(pos / kKeyBlock)]->data());
    return block + pos % kKeyBlock * format_.row_bytes();
  }
  /// The same, to read.
  const std::byte* row(std::int64_t pos) const noexcept { return const_cast<MlaCache*>(this)->row(pos); }

  /// Uses the full blocks of `earlier`, whose rows must be equal to the first ones here.
  void share(const MlaCache& earlier) noexcept;

  /// Calls f(start, bytes) for every block, those shared with copies included.
  template <class F>
  void for_each_block(F&& f) const {
    for (const auto& block : blocks_) f(static_cast<const void*>(block->data()), block_floats() * sizeof(float));
  }

  /// Room of one block.
  std::size_t block_floats() const { return static_cast<std::size_t>(kKeyBlock * format_.row_bytes()) / sizeof(float); }

 private:
  LatentFormat format_;
  std::int64_t num_tokens_ = 0;
  std::vector<std::shared_ptr<AlignedBuffer>> blocks_;  // kKeyBlock rows each
};

}  // namespace kl
