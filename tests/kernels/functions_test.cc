// Accuracy of the elementary functions, seen through kernels that return them bare.
#include "tests/numerics.h"
#include "tests/support/isa.h"
#include "tests/support/random.h"

namespace kl::test {
namespace {

/// Distance in units in the last place of the correctly rounded result.
double ulps(float actual, double exact) {
  const double unit = std::ldexp(1.0, std::max(std::ilogb(exact), -126) - 23);
  return std::fabs(actual - exact) / unit;
}

/// Evenly spaced floats between low and high, dense enough to meet every fraction and exponent.
std::vector<float> grid(float low, float high, std::ptrdiff_t n) {
  std::vector<float> x(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = low + (high - low) * static_cast<float>(i) / static_cast<float>(n);
  }
  return x;
}

constexpr std::ptrdiff_t kPoints = 4096;  // the most experts route() takes

/// Router scores of kPoints logits: with all experts chosen and no renormalisation, weights are the bare scores.
std::vector<float> scores_of(const Kernels& kernels, const std::vector<float>& logits, bool softmax) {
  std::vector<float> bias(kPoints), scratch(2 * kPoints), weights(kPoints);
  std::vector<std::int32_t> ids(kPoints);
  kernels.route({logits.data(), bias.data(), kPoints, kPoints, 1, 1, softmax, false, false, 1.0f, scratch.data(),
                 ids.data(), weights.data()});
  return weights;
}

TEST(Functions, SigmoidIsWithinTwoAndAHalfUlps) {
  for_each_table([&](const Kernels& kernels) {
    double worst = 0;
    for (const auto& [low, high] : {std::pair{-86.f, -20.f}, {-20.f, -1.f}, {-1.f, 1.f}, {1.f, 20.f}, {20.f, 100.f}}) {
      const std::vector<float> x = grid(low, high, kPoints), y = scores_of(kernels, x, false);
      for (std::size_t i = 0; i < x.size(); ++i)
        worst = std::fmax(worst, ulps(y[i], 1 / (1 + std::exp(-double{x[i]}))));
    }
    EXPECT_LE(worst, 2.5);
  });
}

TEST(Functions, SiluIsWithinTwoAndAHalfUlps) {
  for_each_table([&](const Kernels& kernels) {
    double worst = 0;
    for (const auto& [low, high] : {std::pair{-86.f, -20.f}, {-20.f, -1.f}, {-1.f, 1.f}, {1.f, 20.f}, {20.f, 100.f}}) {
      const std::vector<float> x = grid(low, high, 100000), one(x.size(), 1);
      std::vector<float> y(x.size());
      kernels.silu_mul(x.data(), one.data(), 100000, y.data());
      for (std::size_t i = 0; i < x.size(); ++i) {
        if (x[i] != 0) worst = std::fmax(worst, ulps(y[i], double{x[i]} / (1 + std::exp(-double{x[i]}))));
      }
    }
    EXPECT_LE(worst, 2.5);
  });
}

/// One KDA gate per channel: alpha = exp(-e^A_log softplus(f)).
std::vector<float> alphas_of(const Kernels& kernels, const std::vector<float>& f, float A_log) {
  const std::ptrdiff_t K = static_cast<std::ptrdiff_t>(f.size());
  const std::vector<float> one(f.size(), 1), zero(f.size());
  std::vector<float> record(static_cast<std::size_t>(KdaRecord::floats(K)));
  kernels.kda_prepare(
      {one.data(), one.data(), K, f.data(), K, one.data(), 1, zero.data(), A_log, 1e-6f, K, 1, record.data()});
  return {record.begin(), record.begin() + K};
}

TEST(Functions, DecayIsAccurateOverAllGates) {
  for_each_table([&](const Kernels& kernels) {
    double worst = 0;
    for (const float A_log : {0.0f, 2.5f, -2.0f}) {
      for (const auto& [low, high] : {std::pair{-90.f, -20.f}, {-20.f, -1.f}, {-1.f, 1.f}, {1.f, 40.f}, {40.f, 86.f}}) {
        const std::vector<float> f = grid(low, high, 100000), alpha = alphas_of(kernels, f, A_log);
        for (std::size_t i = 0; i < f.size(); ++i) {
          const double x = f[i], g = -std::exp(double{A_log}) * (std::fmax(x, 0) + std::log1p(std::exp(-std::fabs(x))));
          if (g < -86) continue;  // beyond, alpha is below 2^-124 and may be 0
          // g is the product of two f32 functions of 1 .. 2 ulp each, which alpha magnifies by |g|
          worst = std::fmax(worst, ulps(alpha[i], std::exp(g)) / (1 + std::fabs(g)));
        }
      }
    }
    EXPECT_LE(worst, 4);
  });
}

TEST(Functions, DecayOfUnboundedGatesIsZeroAndOfTinyOnesIsOne) {
  for_each_table([&](const Kernels& kernels) {
    const std::vector<float> alpha = alphas_of(kernels, {1000, 1e30f, INFINITY, -1000, -1e30f, -INFINITY, NAN}, 0);
    EXPECT_EQ(alpha[0], 0);
    EXPECT_EQ(alpha[1], 0);
    EXPECT_EQ(alpha[2], 0);
    EXPECT_EQ(alpha[3], 1);
    EXPECT_EQ(alpha[4], 1);
    EXPECT_EQ(alpha[5], 1);
    EXPECT_TRUE(std::isnan(alpha[6]));
  });
}

TEST(Functions, MassesAreTheSameIntegersInEveryTable) {
  std::vector<float> logits = grid(-120.0f, 3.0f, 5001);
  logits.insert(logits.end(), {3.0f, -INFINITY, 2.9999998f, -31.2f, -28.5f, -1e30f});
  for (const float temperature : {1.0f, 0.7f, 1e-30f, 25.0f}) {
    std::vector<std::uint64_t> expected(logits.size()), actual(logits.size());
    const auto n = std::ssize(logits);
    reference::kernels.token_masses(logits.data(), n, 3.0f, temperature, expected.data());
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double exact = std::ldexp(std::exp((double{logits[i]} - 3.0) / double{temperature}), kMassBits);
      ASSERT_NEAR(static_cast<double>(expected[i]), exact, 1 + exact * 0x1p-50) << logits[i];
    }
    for_each_table([&](const Kernels& kernels) {
      kernels.token_masses(logits.data(), n, 3.0f, temperature, actual.data());
      EXPECT_EQ(actual, expected) << "temperature " << temperature;
    });
  }
}

}  // namespace
}  // namespace kl::test
