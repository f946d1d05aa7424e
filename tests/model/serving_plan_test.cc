// The arithmetic of kl/memory.h.  tests/cli/test_plan.py holds it to what a process really takes.
#include <gtest/gtest.h>

#include <limits>

#include "kl/error.h"
#include "kl/memory.h"
#include "tests/support/error_of.h"

namespace kl {
namespace {

constexpr MemoryPlan kModel = {.weights_mapped = 900'000'000,
                               .weights_copied = 100'000'000,
                               .scratch = 50'000'000,
                               .state_fixed = 10'000'000,
                               .state_per_token = 1000,
                               .state_per_tentative = 3000};

TEST(ServingPlan, CountsWhatEachSlotTakes) {
  const ServingPlan plan = plan_serving(kModel, 1000, 4, 7);
  EXPECT_EQ(plan.weights, 1'000'000'000u);
  EXPECT_EQ(plan.scratch, 50'000'000u);
  EXPECT_EQ(plan.states, 40'000'000u);
  EXPECT_EQ(plan.latents, 4u * 1024 * 1000) << "latents lie in blocks of 128 tokens";
  EXPECT_EQ(plan.total(), 1'000'000'000u + 50'000'000 + 40'000'000 + 4'096'000 + 7);
}

TEST(ServingPlan, DraftsAreHeldBesideEachState) {
  EXPECT_EQ(plan_serving(kModel, 1000, 4, 7, 8).states, 4u * (10'000'000 + 8 * 3000));
}

TEST(ServingPlan, TheContextThatFitsIsTheLargestThatDoes) {
  for (const int slots : {1, 3, 8}) {
    for (const std::size_t available : {1'150'000'000u, 1'300'000'001u, 2'000'000'000u}) {
      const std::int64_t fits = ctx_that_fits(kModel, plan_serving(kModel, 1, slots, 100), available, 1 << 30);
      EXPECT_EQ(fits % 128, 0);
      if (fits > 0) {
        EXPECT_LE(plan_serving(kModel, fits, slots, 100).total(), available);
      }
      EXPECT_GT(plan_serving(kModel, fits + 1, slots, 100).total(), available);
    }
  }
  const ServingPlan plan = plan_serving(kModel, 1, 1, 0);
  EXPECT_EQ(ctx_that_fits(kModel, plan, 5'000'000'000, 1000), 1000) << "no more than asked for";
  EXPECT_EQ(ctx_that_fits(kModel, plan, 1'000'000, 1000), 0);
  MemoryPlan without_mla = kModel;
  without_mla.state_per_token = 0;
  EXPECT_EQ(ctx_that_fits(without_mla, plan_serving(without_mla, 1, 1, 0), 5'000'000'000, 77), 77);
}

TEST(ServingPlan, NumbersBeyondAllMemorySaturate) {
  constexpr auto kMost = static_cast<std::size_t>(std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(plan_serving(kModel, 1'000'000'000'000, 1 << 20, 0).total(), kMost);
  EXPECT_EQ(plan_serving(kModel, 1, 1, kMost).total(), kMost);
}

TEST(ServingPlan, TheDefaultCacheAlwaysFits) {
  ServingPlan plan = plan_serving(kModel, 100'000, 4, 0);
  plan.cache = default_cache_bytes(plan, 10'000'000'000);
  EXPECT_GT(plan.cache, 1'000'000'000u);
  EXPECT_LE(plan.total(), 10'000'000'000u);
  EXPECT_EQ(default_cache_bytes(plan, 1000), 0u);
}

TEST(ServingPlan, ARefusalSaysWhatIsNeededWhatThereIsAndWhatToLower) {
  const auto refusal = [](std::int64_t ctx, int slots, std::size_t cache, std::size_t available) {
    const ErrorSeen error =
        error_of([&] { require_memory(kModel, plan_serving(kModel, ctx, slots, cache), available); });
    EXPECT_EQ(error.code, ErrorCode::kOutOfMemory);
    return error.message;
  };
  EXPECT_EQ(
      refusal(1'000'000, 4, 200'000'000, 2'000'000'000),
      "memory: expected 5.3 GB free for 4 texts of 1000000 tokens, got 2.0 GB; lower -c to 177408, --parallel (4), "
      "--cache-bytes (200 MB), or take --cache-type int8");
  EXPECT_EQ(refusal(2'000'000, 1, 0, 2'000'000'000),
            "memory: expected 3.1 GB free for a text of 2000000 tokens, got 2.0 GB; lower -c to 939904, or take "
            "--cache-type int8");
  EXPECT_EQ(
      refusal(100, 1, 0, 800'000'000),
      "memory: expected 1.1 GB free for a text of 100 tokens, got 800 MB; 1.0 GB of it for weights and 50 MB for a "
      "pass: --chunk lowers the latter, kl quantize the former");
  EXPECT_NO_THROW(require_memory(kModel, plan_serving(kModel, 100, 1, 0), 2'000'000'000));
  EXPECT_NO_THROW(require_memory(kModel, plan_serving(kModel, 100, 1, 0), 0)) << "nobody knows what there is";
}

}  // namespace
}  // namespace kl
