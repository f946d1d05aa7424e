#include "tests/numerics.h"
#include "tests/support/isa.h"
#include "tests/support/random.h"

namespace kl::test {
namespace {

constexpr std::ptrdiff_t kLengths[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 72, 100, 128, 2304};

TEST(RmsNorm, AgreesWithReferenceForEveryLength) {
  Random random(1);
  for (const std::ptrdiff_t n : kLengths) {
    for (const double scale : {1e-6, 1.0, 1e4}) {
      const std::vector<float> x = random.normals(n, scale), w = random.normals(n);
      expect_tables_agree(kNorm, [&](const Kernels& k) {
        std::vector<float> y(x.size());
        k.rms_norm(x.data(), w.data(), 1e-5f, n, y.data());
        return y;
      });
    }
  }
}

TEST(RmsNorm, MayOverwriteItsInput) {
  Random random(2);
  const std::vector<float> x = random.normals(37), w = random.normals(37);
  for_each_table([&](const Kernels& k) {
    std::vector<float> apart(x.size()), in_place = x;
    k.rms_norm(x.data(), w.data(), 1e-5f, 37, apart.data());
    k.rms_norm(in_place.data(), w.data(), 1e-5f, 37, in_place.data());
    EXPECT_EQ(why_not_same_bits(in_place, apart), "");
  });
}

TEST(RmsNorm, SurvivesSquaresBeyondFloatRange) {
  for_each_table([&](const Kernels& k) {
    const std::vector<float> x = {3e30f, -3e30f, 3e30f, 3e30f}, w = {1, 1, 2, 0};
    std::vector<float> y(4);
    k.rms_norm(x.data(), w.data(), 1e-5f, 4, y.data());
    EXPECT_EQ(y, (std::vector<float>{1, -1, 2, 0}));
  });
}

TEST(GatedRmsNorm, AgreesWithReferenceForEveryLength) {
  Random random(3);
  for (const std::ptrdiff_t n : kLengths) {
    const std::vector<float> o = random.normals(n), w = random.normals(n), gate = random.normals(n, 4);
    expect_tables_agree(kGatedNorm, [&](const Kernels& k) {
      std::vector<float> y = o;
      k.gated_rms_norm(y.data(), w.data(), 1e-5f, gate.data(), n, y.data());
      return y;
    });
  }
}

TEST(SiluMul, AgreesWithReferenceForEveryLength) {
  Random random(4);
  for (const std::ptrdiff_t n : kLengths) {
    const std::vector<float> gate = random.normals(n, 3), up = random.normals(n);
    expect_tables_agree(kSiluMul, [&](const Kernels& k) {
      std::vector<float> y = gate;
      k.silu_mul(y.data(), up.data(), n, y.data());
      return y;
    });
  }
}

TEST(SiluMul, KnowsExtremeGates) {
  const std::vector<float> gate = {0, -0.0f, 1e30f, -1e30f, 90, -90, -87, INFINITY, -INFINITY, NAN};
  const std::vector<float> up(gate.size(), 1);
  for_each_table([&](const Kernels& k) {
    std::vector<float> y(gate.size());
    k.silu_mul(gate.data(), up.data(), 10, y.data());
    EXPECT_EQ(y[0], 0);
    EXPECT_EQ(y[2], 1e30f);
    EXPECT_EQ(y[3], 0);
    EXPECT_EQ(y[4], 90);
    EXPECT_NEAR(y[5], 0, 1e-36);
    EXPECT_NEAR(y[6], 0, 2e-36);
    EXPECT_EQ(y[7], INFINITY);
    EXPECT_TRUE(std::isnan(y[8]) && std::isnan(y[9]));  // -inf / (1 + inf), as the equation has it
  });
}

TEST(Add, AddsExactlyLikeTheHardware) {
  Random random(5);
  for (const std::ptrdiff_t n : kLengths) {
    const std::vector<float> x = random.normals(n), y = random.normals(n);
    for_each_table([&](const Kernels& k) {
      std::vector<float> sum = y, expected(y.size());
      for (std::size_t i = 0; i < y.size(); ++i) expected[i] = y[i] + x[i];
      k.add(x.data(), n, sum.data());
      EXPECT_EQ(why_not_same_bits(sum, expected), "");
    });
  }
}

}  // namespace
}  // namespace kl::test
