#include "layers/mla_cache.h"

#include <gtest/gtest.h>

namespace kl {
namespace {

ModelArgs args() {
  ModelArgs a;
  a.kv_lora_rank = 3;
  a.qk_rope_head_dim = 1;
  return a;
}

std::size_t bytes_of(const MlaCache& cache) {
  std::size_t total = 0;
  cache.for_each_block([&](const void*, std::size_t bytes) { total += bytes; });
  return total;
}

void fill(MlaCache& cache, std::int64_t count, float value) {
  cache.reserve(count);
  const std::int64_t start = cache.num_tokens();
  cache.append(count);
  for (std::int64_t t = start; t < cache.num_tokens(); ++t) reinterpret_cast<float*>(cache.row(t))[0] = value;
}

TEST(MlaCache, CopySharesFullBlocksAndCopiesTheLastOnWrite) {
  MlaCache original(args(), LatentType::kF32);
  fill(original, kKeyBlock + 5, 1);
  MlaCache copy = original;
  EXPECT_EQ(copy.row(0), original.row(0)) << "full blocks are shared";
  fill(copy, 3, 2);
  fill(original, 3, 3);
  EXPECT_EQ(copy.row(0), original.row(0)) << "still shared after appending";
  EXPECT_NE(copy.row(kKeyBlock), original.row(kKeyBlock)) << "the block written to is not";
  EXPECT_EQ(reinterpret_cast<const float*>(copy.row(kKeyBlock + 4))[0], 1);
  EXPECT_EQ(reinterpret_cast<const float*>(copy.row(kKeyBlock + 5))[0], 2);
  EXPECT_EQ(reinterpret_cast<const float*>(original.row(kKeyBlock + 5))[0], 3);
}

TEST(MlaCache, BlockThatWasFullWhenItWasSharedIsCopiedOnceRowsWereDropped) {
  MlaCache original(args(), LatentType::kF32);
  fill(original, kKeyBlock + 5, 1);
  const MlaCache copy = original;
  original.truncate(kKeyBlock - 2);
  EXPECT_EQ(original.num_tokens(), kKeyBlock - 2);
  fill(original, 10, 2);
  for (std::int64_t t = 0; t < kKeyBlock + 5; ++t) {
    EXPECT_EQ(reinterpret_cast<const float*>(copy.row(t))[0], 1) << t;
    EXPECT_EQ(reinterpret_cast<const float*>(original.row(t))[0], t < kKeyBlock - 2 ? 1 : 2) << t;
  }
}

TEST(MlaCache, AppendingToAnUnsharedBlockKeepsItsAddress) {
  MlaCache cache(args(), LatentType::kF32);
  fill(cache, 5, 1);
  const std::byte* row = cache.row(4);
  fill(cache, 5, 2);
  EXPECT_EQ(cache.row(4), row);
}

TEST(MlaCache, RoomReservedAndNotUsedIsFoundAgain) {
  MlaCache cache(args(), LatentType::kF32);
  cache.reserve(1000);
  const std::size_t bytes = bytes_of(cache);
  fill(cache, 300, 1);
  cache.reserve(700);
  EXPECT_EQ(bytes_of(cache), bytes);
}

}  // namespace
}  // namespace kl
