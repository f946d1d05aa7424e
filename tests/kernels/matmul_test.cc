#include <cstring>

#include "tests/numerics.h"
#include "tests/support/isa.h"
#include "tests/support/random.h"

namespace kl::test {
namespace {

/// A weight matrix of any type with rows further apart than K, NaN between them.
struct Weights {
  std::vector<std::uint8_t> bytes;
  WeightMatrix matrix;

  Weights(DType type, std::ptrdiff_t N, std::ptrdiff_t K, std::ptrdiff_t stride, Random& random) {
    const std::vector<float> values = random.normals(N * stride);
    bytes.resize(values.size() * size_of(type));
    for (std::size_t i = 0; i < values.size(); ++i) {
      const bool gap = static_cast<std::ptrdiff_t>(i) % stride >= K;
      if (type == DType::kF32) {
        const float x = gap ? NAN : values[i];
        std::memcpy(bytes.data() + 4 * i, &x, 4);
      } else {
        // f16: a random sign, exponent 2^-6 .. 2^1 and fraction
        const std::uint16_t f16 = static_cast<std::uint16_t>((random.bits() & 0x9fffu) | 0x2400u);
        const std::uint16_t x = gap ? 0x7fff : type == DType::kBF16 ? f32_to_bf16(values[i]) : f16;
        std::memcpy(bytes.data() + 2 * i, &x, 2);
      }
    }
    matrix = {bytes.data(), type, N, K, stride};
  }
};

constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16};
constexpr float kUntouched = NAN;  // must stay where nothing is written, and does not raise the peak

/// y of a matmul over rows [n0, n1), rows of y further apart than N.
std::vector<float> run_matmul(const Kernels& kernels, const WeightMatrix& w, const std::vector<float>& x,
                              std::ptrdiff_t M, std::ptrdiff_t n0, std::ptrdiff_t n1) {
  const std::ptrdiff_t x_stride = static_cast<std::ptrdiff_t>(x.size()) / M, y_stride = w.N + 3;
  std::vector<float> y(static_cast<std::size_t>(M * y_stride), kUntouched);
  kernels.matmul({w, x.data(), x_stride, y.data(), y_stride, M}, n0, n1);
  return y;
}

TEST(Matmul, AgreesWithReferenceForEveryTypeAndShape) {
  Random random(1);
  const std::ptrdiff_t shapes[][3] = {{1, 1, 1},     {1, 3, 15},   {2, 4, 16},    {3, 5, 17},    {4, 7, 31},
                                      {5, 9, 33},    {6, 65, 72},  {7, 130, 100}, {12, 64, 256}, {13, 67, 257},
                                      {1, 33, 2304}, {8, 20, 530}, {31, 3, 48},   {1, 8, 4096},  {3, 2, 9216}};
  for (const DType type : kTypes) {
    for (const auto& [M, N, K] : shapes) {
      SCOPED_TRACE(testing::Message() << name_of(type) << " M " << M << " N " << N << " K " << K);
      const Weights w(type, N, K, K + random.below(5), random);
      const std::vector<float> x = random.normals(M * (K + 2));
      expect_tables_agree(kMatmul, [&, M = M, N = N](const Kernels& k) { return run_matmul(k, w.matrix, x, M, 0, N); });
    }
  }
}

TEST(Matmul, WritesOnlyTheRowsItWasGiven) {
  Random random(2);
  const std::ptrdiff_t M = 5, N = 150, K = 40, n0 = 7, n1 = 141;
  const Weights w(DType::kBF16, N, K, K, random);
  const std::vector<float> x = random.normals(M * K);
  for_each_table([&](const Kernels& kernels) {
    const std::vector<float> y = run_matmul(kernels, w.matrix, x, M, n0, n1);
    for (std::ptrdiff_t i = 0; i < static_cast<std::ptrdiff_t>(y.size()); ++i) {
      const std::ptrdiff_t n = i % (N + 3);
      EXPECT_EQ(!std::isnan(y[static_cast<std::size_t>(i)]), n0 <= n && n < n1) << "column " << n;
    }
  });
}

TEST(Matmul, ResultOfATokenAndRowDependsOnNothingElseInTheCall) {
  Random random(3);
  const std::ptrdiff_t N = 133, K = 531;
  for (const DType type : kTypes) {
    const Weights w(type, N, K, K + 1, random);
    const std::vector<float> x = random.normals(20 * K);
    for_each_table([&](const Kernels& kernels) {
      const std::vector<float> all = run_matmul(kernels, w.matrix, x, 20, 0, N);
      for (const std::ptrdiff_t M : {1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13}) {
        const std::ptrdiff_t m0 = random.below(20 - M), n0 = random.below(N), n1 = n0 + 1 + random.below(N - n0);
        const std::vector<float> some_x(x.begin() + m0 * K, x.begin() + (m0 + M) * K);
        const std::vector<float> some = run_matmul(kernels, w.matrix, some_x, M, n0, n1);
        for (std::ptrdiff_t m = 0; m < M; ++m) {
          const std::span<const float> expected(all.data() + (m0 + m) * (N + 3) + n0,
                                                static_cast<std::size_t>(n1 - n0));
          const std::span<const float> actual(some.data() + m * (N + 3) + n0, expected.size());
          ASSERT_EQ(why_not_same_bits(actual, expected), "") << name_of(type) << " M " << M << " token " << m;
        }
      }
    });
  }
}

TEST(Matmul, NanAndInfinityReachExactlyTheOutputsThatUseThem) {
  Random random(4);
  const std::ptrdiff_t M = 7, N = 9, K = 50;
  Weights w(DType::kF32, N, K, K, random);
  std::vector<float> x = random.normals(M * K);
  x[2 * K + 49] = NAN;
  x[3 * K + 1] = INFINITY;
  const float inf = INFINITY;
  std::memcpy(w.bytes.data() + 4 * (5 * K + 7), &inf, 4);
  expect_tables_agree(kMatmul, [&, M = M, N = N](const Kernels& k) { return run_matmul(k, w.matrix, x, M, 0, N); });
  const std::vector<float> y = run_matmul(reference::kernels, w.matrix, x, M, 0, N);
  EXPECT_TRUE(std::isnan(y[2 * (N + 3)]) && std::isinf(y[3 * (N + 3)]) && std::isinf(y[5]) && std::isfinite(y[4]));
}

TEST(Matmul, ReferenceIsTheEquation) {
  const float w[] = {1, 2, 3, 4, 5, 6}, x[] = {1, 10, 100, 2, 0, 1};
  float y[4], z[3];
  reference::kernels.matmul({{w, DType::kF32, 2, 3, 3}, x, 3, y, 2, 2}, 0, 2);
  EXPECT_EQ((std::vector<float>(y, y + 4)), (std::vector<float>{321, 654, 5, 14}));
  reference::kernels.matmul_transposed({{w, DType::kF32, 2, 3, 3}, x, 2, z, 3, 1});  // 1 * row 0 + 10 * row 1
  EXPECT_EQ((std::vector<float>(z, z + 3)), (std::vector<float>{41, 52, 63}));
}

std::vector<float> run_transposed(const Kernels& kernels, const WeightMatrix& w, const std::vector<float>& x,
                                  std::ptrdiff_t M) {
  const std::ptrdiff_t x_stride = static_cast<std::ptrdiff_t>(x.size()) / M, y_stride = w.K + 2;
  std::vector<float> y(static_cast<std::size_t>(M * y_stride), kUntouched);
  kernels.matmul_transposed({w, x.data(), x_stride, y.data(), y_stride, M});
  return y;
}

TEST(MatmulTransposed, AgreesWithReferenceForEveryTypeAndShape) {
  Random random(5);
  const std::ptrdiff_t shapes[][3] = {{1, 1, 1},   {2, 33, 15}, {3, 16, 16},  {4, 31, 17},    {5, 72, 31}, {6, 100, 33},
                                      {7, 64, 72}, {11, 3, 47}, {13, 65, 96}, {25, 512, 128}, {1, 512, 40}};
  for (const DType type : kTypes) {
    for (const auto& [M, N, K] : shapes) {
      SCOPED_TRACE(testing::Message() << name_of(type) << " M " << M << " N " << N << " K " << K);
      const Weights w(type, N, K, K + random.below(5), random);
      const std::vector<float> x = random.normals(M * (N + 1));
      expect_tables_agree(kMatmul, [&, M = M](const Kernels& k) { return run_transposed(k, w.matrix, x, M); });
    }
  }
}

TEST(MatmulTransposed, ResultOfATokenDependsOnNothingElseInTheCall) {
  Random random(6);
  const std::ptrdiff_t N = 70, K = 83;
  const Weights w(DType::kBF16, N, K, K, random);
  const std::vector<float> x = random.normals(30 * N);
  for_each_table([&](const Kernels& kernels) {
    const std::vector<float> all = run_transposed(kernels, w.matrix, x, 30);
    for (const std::ptrdiff_t M : {1, 2, 5, 12, 17}) {
      const std::ptrdiff_t m0 = random.below(30 - M);
      const std::vector<float> some_x(x.begin() + m0 * N, x.begin() + (m0 + M) * N);
      const std::vector<float> some = run_transposed(kernels, w.matrix, some_x, M);
      const std::span<const float> expected(all.data() + m0 * (K + 2), some.size());
      EXPECT_EQ(why_not_same_bits(some, expected), "") << "M " << M;
    }
  });
}

TEST(WeightRow, IsExactForEverySixteenBitPattern) {
  std::vector<std::uint16_t> patterns(65536);
  for (std::size_t i = 0; i < patterns.size(); ++i) patterns[i] = static_cast<std::uint16_t>(i);
  for (const DType type : {DType::kF16, DType::kBF16}) {
    for_each_table([&](const Kernels& kernels) {
      std::vector<float> wide(65536), expected(65536);
      kernels.weight_row({patterns.data(), type, 2, 65535, 65535}, 0, wide.data());
      kernels.weight_row({patterns.data(), type, 2, 1, 65535}, 1, wide.data() + 65535);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        expected[i] = type == DType::kF16 ? f16_to_f32(patterns[i]) : bf16_to_f32(patterns[i]);
      }
      EXPECT_EQ(why_not_same_bits(wide, expected), "") << name_of(type);
    });
  }
}

}  // namespace
}  // namespace kl::test
