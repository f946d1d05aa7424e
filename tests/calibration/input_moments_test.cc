// What is kept of inputs, against plain sums.
#include "calibration/input_moments.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/random.h"

namespace kl {
namespace {

using test::Random;

TEST(Moments, ArePlainSumsInDouble) {
  Random random(1);
  constexpr std::size_t K = 37, T = 50;
  const std::vector<float> x = random.normals(T * K), meant = random.normals(T * K);
  ThreadPool one(1), three(3);
  Moments a(K), b(K), only(K);
  a.add(x, meant, one);
  b.add(std::span(x).first(20 * K), std::span(meant).first(20 * K), three);  // in two parts
  b.add(std::span(x).subspan(20 * K), std::span(meant).subspan(20 * K), three);
  only.add(x, {}, one);
  EXPECT_EQ(a.sum, b.sum);
  EXPECT_EQ(a.drift, b.drift);
  EXPECT_EQ(a.sum, only.sum);
  EXPECT_TRUE(only.drift.empty());
  for (std::size_t i = 0; i < K; ++i) {
    for (std::size_t j = 0; j < K; ++j) {
      double sum = 0, drift = 0;
      for (std::size_t t = 0; t < T * K; t += K) {
        sum += double{x[t + i]} * double{x[t + j]};
        drift += (double{meant[t + i]} - double{x[t + i]}) * double{x[t + j]};
      }
      EXPECT_NEAR(a.sum[std::min(i, j) * K + std::max(i, j)], sum, 1e-9);
      EXPECT_NEAR(a.drift[i * K + j], drift, 1e-9);
    }
  }
}

/// Entry (i, j) of A B.
template <class A, class B>
double product(const A& a, const B& b, std::size_t K, std::size_t i, std::size_t j) {
  double sum = 0;
  for (std::size_t k = 0; k < K; ++k) sum += a(i, k) * b(k, j);
  return sum;
}

TEST(Moments, KnowledgeIsTheirInverse) {
  Random random(2);
  constexpr std::size_t K = 40;
  const std::vector<float> x = random.normals(3 * K * K), meant = random.normals(3 * K * K);
  ThreadPool pool(2);
  Moments moments(K);
  moments.add(x, meant, pool);
  const InputKnowledge known = moments.knowledge(0.01, pool);
  double mean = 0;
  for (std::size_t i = 0; i < K; ++i) mean += moments.sum[i * K + i] / K;
  const auto H = [&](std::size_t i, std::size_t j) { return double{known.H[i * K + j]}; };
  const auto U = [&](std::size_t i, std::size_t j) { return double{known.U[i * K + j]}; };
  const auto UT = [&](std::size_t i, std::size_t j) { return U(j, i); };
  const auto inverse = [&](std::size_t i, std::size_t j) { return product(UT, U, K, i, j); };
  const auto C = [&](std::size_t i, std::size_t j) { return double{known.correction[i * K + j]}; };
  for (std::size_t i = 0; i < K; ++i) {
    for (std::size_t j = 0; j < K; ++j) {
      const double sum = moments.sum[std::min(i, j) * K + std::max(i, j)];
      EXPECT_NEAR(H(i, j), sum + (i == j ? 0.01 * mean : 0), 1e-4);
      EXPECT_NEAR(product(inverse, H, K, i, j), i == j ? 1 : 0, 1e-4);
      EXPECT_NEAR(product(C, H, K, i, j), moments.drift[i * K + j], 1e-3);
      EXPECT_EQ(j < i ? U(i, j) : 0, 0);
    }
  }
}

TEST(InputRecorder, KeepsTheInputsOfWatchedMatrices) {
  Random random(3);
  constexpr std::ptrdiff_t N = 4, K = 8, stride = 10;
  const std::vector<float> watched = random.normals(N * K), other = random.normals(N * K),
                           x = random.normals(5 * stride);
  const WeightMatrix w{watched.data(), DType::kF32, N, K, K}, v{other.data(), DType::kF32, N, K, K};
  const auto product = [&](const WeightMatrix& m) {
    return MatmulArgs{.w = m, .x = x.data(), .x_stride = stride, .y = nullptr, .y_stride = N, .M = 5};
  };
  InputRecorder recorder;
  recorder.watch(w, 6);
  recorder.on_product(product(v));
  recorder.on_product(product(w));
  std::vector<float> rows;
  for (std::ptrdiff_t m = 0; m < 5; ++m) rows.insert(rows.end(), x.begin() + m * stride, x.begin() + m * stride + K);
  EXPECT_EQ(recorder.take(w), rows);
  EXPECT_TRUE(recorder.take(w).empty());
  for (int i = 0; i < 2; ++i) recorder.on_product(product(w));
  EXPECT_EQ(recorder.take(w).size(), 6u * K) << "and no more than it was told";
}

}  // namespace
}  // namespace kl
