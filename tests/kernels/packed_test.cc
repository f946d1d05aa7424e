// Products with quantised weights: every format, odd sizes, every table.
#include "tests/support/packed.h"

#include "tests/numerics.h"
#include "tests/support/isa.h"

namespace kl::test {
namespace {

constexpr std::ptrdiff_t kShapes[][3] = {{1, 1, 1},     {1, 16, 64},  {2, 17, 63},  {3, 33, 65},   {4, 48, 128},
                                         {5, 31, 96},   {6, 64, 32},  {7, 40, 160}, {12, 80, 256}, {13, 35, 100},
                                         {1, 50, 2304}, {8, 20, 544}, {25, 7, 200}};

/// y of a matmul, in integers or in f32, over outputs [n0, n1).
std::vector<float> run(const Kernels& kernels, const WeightMatrix& w, const std::vector<float>& x, std::ptrdiff_t M,
                       bool integers, std::ptrdiff_t n0, std::ptrdiff_t n1) {
  const std::ptrdiff_t x_stride = static_cast<std::ptrdiff_t>(x.size()) / M, y_stride = w.N + 3;
  std::vector<float> y(static_cast<std::size_t>(M * y_stride), NAN);
  const QuantizedRows q(kernels, x, M, w.K);
  kernels.matmul({w, x.data(), x_stride, y.data(), y_stride, M, integers ? q.data() : nullptr}, n0, n1);
  return y;
}

TEST(Packed, AgreesWithReferenceForEveryFormatAndShape) {
  Random random(1);
  for (const PackedFormat& format : packed_formats()) {
    for (const auto& [M, N, K] : kShapes) {
      SCOPED_TRACE(testing::Message() << name_of(format) << " M " << M << " N " << N << " K " << K);
      const PackedWeights w(format, N, K, random);
      const std::vector<float> x = random.normals(M * (K + 1));
      for (const bool integers : {true, false}) {
        expect_tables_agree(integers ? kPackedIntegers : kPackedF32,
                            [&, M = M, N = N](const Kernels& k) { return run(k, w.matrix, x, M, integers, 0, N); });
      }
    }
  }
}

TEST(Packed, ResultOfATokenAndOutputDependsOnNothingElseInTheCall) {
  Random random(2);
  const std::ptrdiff_t N = 85, K = 200, most = 20;
  for (const PackedFormat& format : packed_formats()) {
    const PackedWeights w(format, N, K, random);
    const std::vector<float> x = random.normals(most * K);
    for_each_table([&](const Kernels& kernels) {
      for (const bool integers : {true, false}) {
        const std::vector<float> all = run(kernels, w.matrix, x, most, integers, 0, N);
        for (const std::ptrdiff_t M : {1, 2, 3, 4, 5, 6, 7, 11, 13}) {
          const std::ptrdiff_t m0 = random.below(most - M), n0 = random.below(5) * 16,
                               n1 = n0 + 1 + random.below(N - n0);
          const std::vector<float> some_x(x.begin() + m0 * K, x.begin() + (m0 + M) * K);
          const std::vector<float> some = run(kernels, w.matrix, some_x, M, integers, n0, n1);
          for (std::ptrdiff_t m = 0; m < M; ++m) {
            for (std::ptrdiff_t n = 0; n < N; ++n) {
              const float got = some[static_cast<std::size_t>(m * (N + 3) + n)];
              if (n < n0 || n >= n1) {
                ASSERT_TRUE(std::isnan(got)) << "written outside";
              } else {
                ASSERT_EQ(got, all[static_cast<std::size_t>((m0 + m) * (N + 3) + n)]) << name_of(format) << " M " << M;
              }
            }
          }
        }
      }
    });
  }
}

// Which of the two a machine uses depends on its CPU: both must be right on all of them.
TEST(Packed, AskingForWeightsEarlierChangesNoBit) {
  Random random(6);
  for (const PackedFormat& format : packed_formats()) {
    for (const auto& [M, N, K] : kShapes) {
      const PackedWeights w(format, N, K, random), next(format, N, K, random);
      const std::vector<float> x = random.normals(M * K);
      for (const Kernels* table : {&avx2::kernels, &avx512::kernels}) {
        if (!table->supported()) continue;
        const QuantizedRows q(*table, x, M, K);
        std::vector<float> y(static_cast<std::size_t>(M * N)), far(y);
        MatmulArgs args{w.matrix, x.data(), K, y.data(), N, M, q.data()};
        table->matmul(args, 0, N);
        args.y = far.data();
        for (const void* after : {static_cast<const void*>(nullptr), next.matrix.data}) {
          args.next = after;
          table->matmul_far_ahead(args, 0, N);
          ASSERT_EQ(y, far) << name_of(format) << " M " << M << " N " << N << " K " << K;
        }
      }
    }
  }
}

TEST(Packed, RowsAreTheWeightsOfTheReference) {
  Random random(3);
  for (const PackedFormat& format : packed_formats()) {
    const PackedWeights w(format, 37, 150, random);
    expect_tables_agree(kExact, [&](const Kernels& k) {
      std::vector<float> rows(37 * 150);
      for (std::ptrdiff_t n = 0; n < 37; ++n) k.weight_row(w.matrix, n, rows.data() + n * 150);
      return rows;
    });
  }
}

TEST(Packed, IntegersAreWithinTheActivationsRoundingOfF32) {
  Random random(4);
  for (const PackedFormat& format : packed_formats()) {
    const std::ptrdiff_t M = 4, N = 64, K = 512;
    const PackedWeights w(format, N, K, random);
    const std::vector<float> x = random.normals(M * K);
    const auto exact = run(reference::kernels, w.matrix, x, M, false, 0, N);
    const auto rounded = run(reference::kernels, w.matrix, x, M, true, 0, N);
    double error = 0, power = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
      if (std::isnan(exact[i])) continue;
      error += std::pow(double{rounded[i]} - exact[i], 2);
      power += std::pow(double{exact[i]}, 2);
    }
    EXPECT_LE(std::sqrt(error / power), 0.012) << name_of(format);  // 0.53 % for Gaussian rows by measurement
    EXPECT_GT(error, 0);
  }
}

TEST(QuantizeRow, GivesTheSameBytesOnEveryTable) {
  Random random(5);
  for (const std::ptrdiff_t K : {1, 31, 32, 33, 64, 65, 100, 2304}) {
    std::vector<float> x = random.normals(6 * K);
    for (std::ptrdiff_t i = 0; i < K; ++i) {
      x[static_cast<std::size_t>(K + i)] = 0;            // a row of zeros
      x[static_cast<std::size_t>(2 * K + i)] *= 1e-35f;  // too small to divide by
      x[static_cast<std::size_t>(3 * K + i)] *= 1e30f;
    }
    x[static_cast<std::size_t>(4 * K)] = NAN;
    x[static_cast<std::size_t>(6 * K - 1)] = -INFINITY;
    const std::string expected = QuantizedRows(reference::kernels, x, 6, K).bytes();
    for (const Kernels* table : fast_tables()) {
      EXPECT_TRUE(QuantizedRows(*table, x, 6, K).bytes() == expected) << table->isa << " K " << K;
    }
  }
}

TEST(QuantizeRow, PartsGiveTheBytesOfTheWhole) {
  Random random(7);
  for_each_table([&](const Kernels& kernels) {
    for (const std::ptrdiff_t K : {64, 65, 100, 300, 1024}) {
      const std::vector<float> x = random.normals(K);
      const QuantizedRows whole(kernels, x, 1, K);
      for (const std::ptrdiff_t step : {64, 128, 192}) {
        std::vector<std::byte> row(static_cast<std::size_t>(ActivationRow::bytes(K)));
        for (std::ptrdiff_t k = 0; k < K; k += step)
          kernels.quantize_row(x.data() + k, K, row.data(), k, std::min(K, k + step));
        EXPECT_EQ(std::memcmp(row.data(), whole.data(), row.size()), 0)
            << kernels.isa << " K " << K << " step " << step;
      }
    }
  });
}

TEST(QuantizeRow, IsTheDefinition) {
  std::vector<float> x(64, 0.0f);
  x[0] = 127, x[1] = -63.5f, x[2] = 0.5f, x[3] = 1.5f, x[20] = -1, x[40] = -2.54f, x[41] = 1.27f, x[50] = 0.02f;
  const QuantizedRows rows(reference::kernels, x, 1, 64);
  const auto* q = reinterpret_cast<const std::int8_t*>(rows.data());
  EXPECT_EQ((std::vector<int>{q[0], q[1], q[2], q[3], q[40], q[41]}), (std::vector<int>{127, -64, 0, 2, -127, 64}));
  float scale[2], sum[2], pair;
  std::int32_t zero[2], zero16[4];
  std::memcpy(scale, rows.data() + ActivationRow::scale_at(64), 8);
  std::memcpy(zero, rows.data() + ActivationRow::zero_at(64), 8);
  std::memcpy(sum, rows.data() + ActivationRow::sum_at(64), 8);
  std::memcpy(zero16, rows.data() + ActivationRow::zero16_at(64), 16);
  std::memcpy(&pair, rows.data() + ActivationRow::pair_sum_at(64), 4);
  EXPECT_EQ(scale[0], 1.0f);
  EXPECT_FLOAT_EQ(scale[1], 0.02f);
  EXPECT_EQ(zero[0], -8 * 64);
  EXPECT_EQ(zero[1], -8 * -62);
  EXPECT_EQ((std::vector<int>{zero16[0], zero16[1], zero16[2], zero16[3]}),
            (std::vector<int>{-8 * 65, -8 * -1, -8 * -63, -8 * 1}));
  EXPECT_EQ(sum[0], 64.0f);
  EXPECT_EQ(pair, sum[0] + sum[1]);
}

TEST(QuantizeRow, NanAndInfinityReachEveryOutput) {
  Random random(6);
  for (const float bad : {static_cast<float>(NAN), static_cast<float>(INFINITY)}) {
    const PackedWeights w({4, 32, false, DType::kF16}, 16, 96, random);
    std::vector<float> x = random.normals(96);
    x[40] = bad;
    for_each_table([&](const Kernels& k) {
      const auto y = run(k, w.matrix, x, 1, true, 0, 16);
      for (int n = 0; n < 16; ++n) EXPECT_FALSE(std::isfinite(y[static_cast<std::size_t>(n)]));
    });
  }
}

}  // namespace
}  // namespace kl::test
