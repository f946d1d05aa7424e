// Rounding with knowledge of the inputs, against rounding without it.
#include "calibration/pack_for_inputs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "calibration/input_moments.h"
#include "kernels/kernels.h"
#include "packing/pack.h"
#include "tests/support/random.h"

namespace kl {
namespace {

using test::Random;

const PackedFormat kFormats[] = {
    {4, 32, false, DType::kF16}, {4, 64, true, DType::kF16}, {8, 32, false, DType::kF16}, {8, 64, true, DType::kBF16}};

/// Inputs [rows, K] of which neighbours go together: x_i = share x_i-1 + noise.
std::vector<float> inputs(Random& random, std::ptrdiff_t rows, std::ptrdiff_t K, float share) {
  std::vector<float> x = random.normals(rows * K);
  for (std::size_t i = 0; i < x.size(); ++i)
    if (i % static_cast<std::size_t>(K) > 0) x[i] += share * x[i - 1];
  return x;
}

InputKnowledge learn(const std::vector<float>& x, const std::vector<float>& meant, std::ptrdiff_t K,
                     double damping = 1e-6) {
  ThreadPool pool(1);
  Moments moments(K);
  moments.add(x, meant, pool);
  return moments.knowledge(damping, pool);
}

std::vector<float> unpack(const std::vector<std::byte>& block, std::ptrdiff_t rows, std::ptrdiff_t K,
                          const PackedFormat& format) {
  std::vector<float> w(static_cast<std::size_t>(rows * K));
  const WeightMatrix packed{block.data(), DType::kPacked, rows, K, K, format};
  for (std::ptrdiff_t r = 0; r < rows; ++r) reference::kernels.weight_row(packed, r, w.data() + r * K);
  return w;
}

/// sum over inputs and rows of (w meant - rounded x)^2
double error(const std::vector<float>& w, const std::vector<float>& meant, const std::vector<float>& rounded,
             const std::vector<float>& x, std::size_t K) {
  double sum = 0;
  for (std::size_t t = 0; t < x.size(); t += K) {
    for (std::size_t r = 0; r < w.size(); r += K) {
      double d = 0;
      for (std::size_t i = 0; i < K; ++i)
        d += double{w[r + i]} * double{meant[t + i]} - double{rounded[r + i]} * double{x[t + i]};
      sum += d * d;
    }
  }
  return sum;
}

struct Rounded {
  std::vector<float> w;
  double loss = 0;
};

Rounded round_for(const InputKnowledge& known, const std::vector<float>& w, std::ptrdiff_t rows, std::ptrdiff_t K,
                  const PackedFormat& format) {
  std::vector<std::byte> block(static_cast<std::size_t>(format.block_bytes(K)), std::byte{0xff});
  const double loss = pack_block_for(known, w.data(), rows, K, format, block.data());
  return {unpack(block, rows, K, format), loss};
}

TEST(PackForInputs, LeavesLessErrorThanPlainRounding) {
  Random random(1);
  for (const PackedFormat& format : kFormats) {
    for (const std::ptrdiff_t K : {64, 128, 192}) {
      for (const float share : {0.0f, 0.5f, 0.95f}) {
        const std::ptrdiff_t rows = 1 + random.below(16);
        const std::vector<float> w = random.normals(rows * K, 0.05), x = inputs(random, 3 * K, K, share);
        std::vector<std::byte> block(static_cast<std::size_t>(format.block_bytes(K)));
        pack_block(w.data(), rows, K, format, block.data());
        const double plain = error(w, x, unpack(block, rows, K, format), x, static_cast<std::size_t>(K));
        const Rounded rounded = round_for(learn(x, {}, K), w, rows, K, format);
        const double ours = error(w, x, rounded.w, x, static_cast<std::size_t>(K));
        EXPECT_LT(ours, (share > 0.9f ? 0.5
                         : share > 0  ? 0.9
                                      : 1) *
                            plain)
            << int{format.bits} << ' ' << K << ' ' << share;
        EXPECT_NEAR(rounded.loss, ours, 2e-3 * ours) << int{format.bits} << ' ' << K << ' ' << share;
      }
    }
  }
}

TEST(PackForInputs, MakesUpForInputsThatAreNotWhatTheyShouldBe) {
  Random random(2);
  constexpr std::ptrdiff_t K = 64, rows = 16;
  const std::vector<float> w = random.normals(rows * K, 0.05), meant = inputs(random, 4 * K, K, 0.5f);
  std::vector<float> x = meant;  // shrunk, and each input mixed with the next one
  for (std::size_t i = 0; i + 1 < x.size(); ++i) x[i] = 0.9f * x[i] + 0.2f * x[i + 1];
  for (const PackedFormat& format : kFormats) {
    const double blind = error(w, meant, round_for(learn(x, {}, K), w, rows, K, format).w, x, K);
    const double ours = error(w, meant, round_for(learn(x, meant, K), w, rows, K, format).w, x, K);
    EXPECT_LT(ours, (format.bits == 8 ? 0.1 : 0.5) * blind) << int{format.bits};
  }
}

TEST(PackForInputs, KeepsWeightsThatTheFormatCanHold) {
  Random random(3);
  constexpr std::ptrdiff_t K = 64;
  std::vector<float> w(16 * K);
  for (std::size_t i = 0; i < w.size(); ++i)
    w[i] = 0.0078125f * static_cast<float>(i % 32 == 0 ? -8 : random.below(16) - 8);
  const InputKnowledge known = learn(inputs(random, 4 * K, K, 0.8f), {}, K);
  EXPECT_EQ(round_for(known, w, 16, K, kFormats[0]).w, w);
}

TEST(PackForInputs, StandsZerosAndInputsThatNeverCome) {
  Random random(4);
  constexpr std::ptrdiff_t K = 128;
  std::vector<float> w = random.normals(2 * K), never(K, 0.0f), some = random.normals(3 * K);
  std::fill(w.begin(), w.begin() + K, 0.0f);
  for (std::size_t i = 0; i < some.size(); i += 2) some[i] = 0;
  for (const std::vector<float>& x : {never, some}) {
    for (const PackedFormat& format : kFormats) {
      const Rounded rounded = round_for(learn(x, {}, K, 0.01), w, 2, K, format);
      for (std::size_t i = 0; i < K; ++i) EXPECT_EQ(rounded.w[i], 0.0f);
      for (std::size_t i = K; i < 2 * K; ++i) ASSERT_NEAR(rounded.w[i], w[i], 2);
      EXPECT_TRUE(std::isfinite(rounded.loss));
    }
  }
}

}  // namespace
}  // namespace kl
