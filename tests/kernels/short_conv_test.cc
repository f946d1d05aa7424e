#include "tests/numerics.h"
#include "tests/support/isa.h"
#include "tests/support/random.h"

namespace kl::test {
namespace {

/// Rows of the state lie further apart than those of weights and tokens: as in a cache that holds other heads too.
struct Conv {
  static constexpr std::ptrdiff_t kGap = 3;
  std::ptrdiff_t W, C, T, state_stride = C + kGap;
  std::vector<float> w, state, x;

  Conv(std::ptrdiff_t taps, std::ptrdiff_t channels, std::ptrdiff_t tokens, std::uint64_t seed)
      : W(taps), C(channels), T(tokens) {
    Random random(seed);
    w = random.normals(W * C, 0.5);
    state = random.normals((W - 1) * state_stride);
    x = random.normals(T * C);
  }
};

/// y, then the state left behind, of channels [c0, c1) and tokens in pieces of the given sizes.
std::vector<float> run(const Kernels& kernels, const Conv& conv, const std::vector<std::ptrdiff_t>& pieces,
                       std::ptrdiff_t c0, std::ptrdiff_t c1) {
  std::vector<float> state = conv.state, y(static_cast<std::size_t>(conv.T * conv.C), NAN);
  std::ptrdiff_t t = 0;
  for (const std::ptrdiff_t T : pieces) {
    const std::ptrdiff_t at = t * conv.C;
    kernels.short_conv({conv.w.data(), conv.C, conv.W, state.data(), conv.state_stride, conv.x.data() + at, conv.C,
                        y.data() + at, conv.C, T},
                       c0, c1);
    t += T;
  }
  y.insert(y.end(), state.begin(), state.end());
  return y;
}

TEST(ShortConv, AgreesWithReferenceForEveryShape) {
  for (const std::ptrdiff_t W : {1, 2, 3, 4, 7}) {
    for (const std::ptrdiff_t C : {1, 3, 15, 16, 17, 31, 33, 100}) {
      for (const std::ptrdiff_t T : {1, 2, 3, 4, 9}) {
        SCOPED_TRACE(testing::Message() << "W " << W << " C " << C << " T " << T);
        const Conv conv(W, C, T, static_cast<std::uint64_t>(W * 10000 + C * 10 + T));
        expect_tables_agree(kShortConv, [&](const Kernels& k) { return run(k, conv, {T}, 0, C); });
      }
    }
  }
}

TEST(ShortConv, AnySplitOfTokensGivesTheSameBits) {
  const Conv conv(4, 37, 12, 1);
  for_each_table([&](const Kernels& k) {
    const std::vector<float> whole = run(k, conv, {12}, 0, 37);
    EXPECT_EQ(why_not_same_bits(run(k, conv, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 0, 37), whole), "");
    EXPECT_EQ(why_not_same_bits(run(k, conv, {2, 1, 7, 2}, 0, 37), whole), "");
    EXPECT_EQ(why_not_same_bits(run(k, conv, {1, 3, 8}, 0, 37), whole), "");
  });
}

TEST(ShortConv, TouchesOnlyTheChannelsItWasGiven) {
  const Conv conv(4, 50, 3, 2);
  for_each_table([&](const Kernels& k) {
    const std::vector<float> all = run(k, conv, {3}, 0, 50), some = run(k, conv, {3}, 11, 43);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const bool in_state = i >= conv.x.size();
      const std::size_t channel = in_state ? (i - conv.x.size()) % (50 + Conv::kGap) : i % 50;
      const bool inside = channel >= 11 && channel < 43;
      if (inside) {
        EXPECT_EQ(some[i], all[i]) << i;
      } else if (in_state) {
        EXPECT_EQ(some[i], conv.state[i - conv.x.size()]) << i;
      } else {
        EXPECT_TRUE(std::isnan(some[i])) << i;
      }
    }
  });
}

TEST(ShortConv, LastTapMultipliesTheCurrentToken) {
  for_each_table([](const Kernels& k) {
    const float w[] = {0, 0, 0, 1}, x[] = {2, 3};
    float state[] = {5, 6, 7}, y[2];
    k.short_conv({w, 1, 4, state, 1, x, 1, y, 1, 2}, 0, 1);
    EXPECT_NEAR(y[0], 2 / (1 + std::exp(-2.0)), 1e-6);
    EXPECT_NEAR(y[1], 3 / (1 + std::exp(-3.0)), 1e-6);
    EXPECT_EQ((std::vector<float>(state, state + 3)), (std::vector<float>{7, 2, 3}));
  });
}

}  // namespace
}  // namespace kl::test
