#include "layers/mla_cache.h"

#include <algorithm>

namespace kl {

void MlaCache::reserve(std::int64_t count) {
  if (count == 0) return;
  const auto needed = static_cast<std::size_t>((num_tokens_ + count + kKeyBlock - 1) / kKeyBlock);
  const auto full = static_cast<std::size_t>(num_tokens_ / kKeyBlock);  // blocks without room: not written to
  std::vector<std::shared_ptr<AlignedBuffer>> blocks(
      blocks_.begin(), blocks_.begin() + static_cast<std::ptrdiff_t>(std::min(full, blocks_.size())));
  for (std::size_t i = full; i < needed; ++i) {
    const bool exists = i < blocks_.size();
    if (exists && blocks_[i].use_count() == 1) {
      blocks.push_back(blocks_[i]);
    } else if (exists) {
      blocks.push_back(std::make_shared<AlignedBuffer>(*blocks_[i]));
    } else {
      blocks.push_back(std::make_shared<AlignedBuffer>(block_floats()));
    }
  }
  blocks_.swap(blocks);
}

void MlaCache::repeat(std::int64_t count) noexcept {
  const std::int64_t period = num_tokens_;
  append(count);
  for (std::int64_t pos = period; pos < num_tokens_; ++pos)
    std::copy_n(row(pos - period), format_.row_bytes(), row(pos));
}

void MlaCache::share(const MlaCache& earlier) noexcept {
  std::copy_n(earlier.blocks_.begin(), std::min(earlier.num_tokens_, num_tokens_) / kKeyBlock, blocks_.begin());
}

}  // namespace kl
