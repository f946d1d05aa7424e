#include <algorithm>

#include "tests/numerics.h"
#include "tests/support/isa.h"
#include "tests/support/random.h"

namespace kl::test {
namespace {

using Ids = std::vector<std::int32_t>;

struct Router {
  std::vector<float> logits, bias;
  std::ptrdiff_t A = 8, groups = 1, topk_groups = 1;
  bool softmax = false, renormalize = true, biased_weights = false;
  float scale = 2.446f;
};

struct Choice {
  Ids ids;
  std::vector<float> weights;
};

Choice route(const Kernels& kernels, const Router& r) {
  const std::ptrdiff_t E = static_cast<std::ptrdiff_t>(r.logits.size());
  Choice c{Ids(static_cast<std::size_t>(r.A), -1), std::vector<float>(static_cast<std::size_t>(r.A), -7)};
  std::vector<float> scratch(static_cast<std::size_t>(2 * E));
  kernels.route({r.logits.data(), r.bias.data(), E, r.A, r.groups, r.topk_groups, r.softmax, r.renormalize,
                 r.biased_weights, r.scale, scratch.data(), c.ids.data(), c.weights.data()});
  return c;
}

TEST(Route, AgreesWithReferenceInEveryMode) {
  Random random(1);
  for (int repeat = 0; repeat < 300; ++repeat) {
    const std::ptrdiff_t size = 1 + random.below(40), groups = 1 + random.below(8), E = size * groups;
    Router r{random.normals(E), random.normals(E, 0.1)};
    r.groups = groups;
    r.topk_groups = 1 + random.below(groups);
    r.A = 1 + random.below(r.topk_groups * size);
    r.softmax = random.below(2);
    r.renormalize = random.below(2);
    r.biased_weights = random.below(2);
    SCOPED_TRACE(testing::Message() << "E " << E << " groups " << groups << " keep " << r.topk_groups << " A " << r.A);
    for_each_table([&](const Kernels& k) {
      const Ids ids = route(k, r).ids;
      EXPECT_EQ(ids, route(reference::kernels, r).ids);
      EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
    });
    expect_tables_agree(kRouterWeights, [&](const Kernels& k) { return route(k, r).weights; });
  }
}

TEST(Route, BiasSteersTheChoiceButNotTheWeights) {
  for_each_table([](const Kernels& k) {
    Router r{{0, 0, 0, 0}, {0.1f, 0.4f, 0.3f, 0.2f}};
    r.A = 2, r.scale = 1;
    EXPECT_EQ(route(k, r).ids, (Ids{1, 2}));
    EXPECT_EQ(route(k, r).weights, (std::vector<float>{0.5f, 0.5f}));
    r.renormalize = false, r.biased_weights = true;
    EXPECT_EQ(route(k, r).weights, (std::vector<float>{0.9f, 0.8f}));
  });
}

TEST(Route, TiesGoToTheLowerIndex) {
  for_each_table([](const Kernels& k) {
    Router r{std::vector<float>(20, 0.5f), std::vector<float>(20)};
    r.A = 3;
    EXPECT_EQ(route(k, r).ids, (Ids{0, 1, 2}));
    r.groups = 4, r.topk_groups = 2, r.A = 6;
    EXPECT_EQ(route(k, r).ids, (Ids{0, 1, 2, 3, 4, 5}));
  });
}

TEST(Route, GroupIsWorthItsTwoBestAndOthersCannotBeChosen) {
  for_each_table([](const Kernels& k) {
    // Scores + bias: group 0 has the single best, group 1 the best pair; group 2's are all larger than group 1's third.
    Router r{std::vector<float>(9, 0), {9, -5, -5, 3, 3, -9, 1.5f, 1.4f, 1.3f}};
    r.groups = 3, r.topk_groups = 1, r.A = 3;
    EXPECT_EQ(route(k, r).ids, (Ids{3, 4, 5}));
    r.topk_groups = 2;
    EXPECT_EQ(route(k, r).ids, (Ids{0, 3, 4}));
    r.A = 6;  // even the worst of the kept groups before anything outside
    EXPECT_EQ(route(k, r).ids, (Ids{0, 1, 2, 3, 4, 5}));
  });
}

TEST(Route, GroupsOfOneExpertAreJudgedByIt) {
  for_each_table([](const Kernels& k) {
    Router r{{0, 3, 1, 2}, {0, 0, 0, 0}};
    r.groups = 4, r.topk_groups = 2, r.A = 2;
    EXPECT_EQ(route(k, r).ids, (Ids{1, 3}));
  });
}

TEST(Route, OneExpertIsNotRenormalised) {
  for_each_table([](const Kernels& k) {
    Router r{{0, -1}, {0, 0}};
    r.A = 1;
    EXPECT_EQ(route(k, r).ids, (Ids{0}));
    EXPECT_FLOAT_EQ(route(k, r).weights[0], 0.5f * 2.446f);
  });
}

TEST(Route, NanLogitsAreChosenLastAndShow) {
  for_each_table([](const Kernels& k) {
    Router r{{NAN, 1, NAN, 0}, {0, 0, 0, 0}};
    r.A = 2;
    EXPECT_EQ(route(k, r).ids, (Ids{1, 3}));
    r.A = 3;
    EXPECT_EQ(route(k, r).ids, (Ids{0, 1, 3}));
    EXPECT_TRUE(std::isnan(route(k, r).weights[0]));
    Router all{std::vector<float>(64, NAN), std::vector<float>(64)};
    all.groups = 8, all.topk_groups = 4;
    for (const bool softmax : {false, true}) {
      all.softmax = softmax;
      EXPECT_EQ(route(k, all).ids, (Ids{0, 1, 2, 3, 4, 5, 6, 7}));
    }
  });
}

TEST(MoeCombine, AgreesWithReferenceWithAndWithoutSharedExperts) {
  Random random(2);
  for (const std::ptrdiff_t n : {1, 3, 15, 16, 17, 31, 33, 100, 2304}) {
    for (const std::ptrdiff_t A : {1, 2, 8}) {
      const std::vector<float> rows = random.normals(A * n), weights = random.normals(A), shared = random.normals(n);
      std::vector<const float*> pointers;
      for (std::ptrdiff_t a = 0; a < A; ++a) pointers.push_back(rows.data() + a * n);
      for (const float* s : {shared.data(), static_cast<const float*>(nullptr)}) {
        expect_tables_agree(kMoeCombine, [&](const Kernels& k) {
          std::vector<float> y(static_cast<std::size_t>(n));
          k.moe_combine({pointers.data(), weights.data(), A, s, n, y.data()});
          return y;
        });
      }
    }
  }
}

}  // namespace
}  // namespace kl::test
