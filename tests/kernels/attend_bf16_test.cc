// Attention and products on pairs of bf16: against the reference, and the bits of every table against each other's.
#include <algorithm>

#include "tests/numerics.h"
#include "tests/support/isa.h"
#include "tests/support/random.h"

namespace kl::test {
namespace {

constexpr std::ptrdiff_t half(std::ptrdiff_t n) { return (n + 1) / 2; }

std::vector<Bf16Pair> pairs_of(const Kernels& kernels, const std::vector<float>& x, std::ptrdiff_t rows,
                               std::ptrdiff_t n) {
  std::vector<Bf16Pair> dst(static_cast<std::size_t>(half(rows) * n), 0xdeadbeef);
  kernels.pair_rows({x.data(), DType::kF32, n, rows, n, dst.data(), n});
  return dst;
}

/// Rows [rows, n] as bf16 rows of whole pairs.
std::vector<Bf16Pair> bf16_rows(const std::vector<float>& x, std::ptrdiff_t rows, std::ptrdiff_t n) {
  std::vector<Bf16Pair> dst(static_cast<std::size_t>(rows * half(n)));
  for (std::ptrdiff_t i = 0; i < rows; ++i)
    for (std::ptrdiff_t c = 0; c < n; ++c)
      dst[std::size_t(i * half(n) + c / 2)] |= Bf16Pair{f32_to_bf16(x[std::size_t(i * n + c)])} << c % 2 * 16;
  return dst;
}

/// Queries of up to kLanes rows against a context of keys, and the values of these.
struct Context {
  std::ptrdiff_t C, Dv, rows;
  std::int64_t keys;
  std::vector<float> q, k, v;  // [C, kLanes], [keys, C], [keys, Dv]
  std::vector<std::int64_t> limit;
  float scale;

  Context(std::ptrdiff_t channels, std::ptrdiff_t values, std::ptrdiff_t rows_, std::int64_t keys_, std::uint64_t seed,
          double spread = 1.5)
      : C(channels), Dv(values), rows(rows_), keys(keys_) {
    Random random(seed);
    q = random.normals(C * kLanes, spread);
    k = random.normals(keys * C);
    v = random.normals(keys * Dv);
    scale = static_cast<float>(1 / std::sqrt(static_cast<double>(C)));
    for (std::ptrdiff_t i = 0; i < kLanes; ++i) limit.push_back(i < rows ? keys : 0);
  }
};

struct State {
  std::vector<float> m, l, O;
  explicit State(std::ptrdiff_t Dv) : m(kLanes, -INFINITY), l(kLanes), O(static_cast<std::size_t>(Dv * kLanes)) {}
  AttendState view() { return {m.data(), l.data(), O.data()}; }
};

/// What the first x.rows lanes read from keys [0, x.keys): [rows, Dv].
std::vector<float> output(const Kernels& kernels, const Context& x, State& state) {
  const std::vector<Bf16Pair> q = pairs_of(kernels, x.q, x.C, kLanes), k = bf16_rows(x.k, x.keys, x.C);
  std::vector<float> scores(static_cast<std::size_t>(kKeyBlock * kLanes), NAN);
  for (std::int64_t p = 0; p < x.keys; p += kKeyBlock) {
    const auto n = static_cast<std::ptrdiff_t>(std::min<std::int64_t>(kKeyBlock, x.keys - p));
    const std::vector<float> values(x.v.begin() + p * x.Dv, x.v.begin() + (p + n) * x.Dv);
    const std::vector<Bf16Pair> v = pairs_of(kernels, values, n, x.Dv);
    kernels.attend_bf16({q.data(), x.limit.data(), k.data() + p * half(x.C), half(x.C), v.data(), x.C, x.Dv, n, p,
                         x.scale, state.view(), scores.data(), k.data(), p == 0 ? 4 * half(x.C) : 0});
  }
  std::vector<float> out(static_cast<std::size_t>(x.rows * x.Dv), NAN);
  std::vector<float*> dst;
  for (std::ptrdiff_t i = 0; i < x.rows; ++i) dst.push_back(out.data() + i * x.Dv);
  kernels.attend_finish(state.view(), x.Dv, dst.data(), x.rows);
  return out;
}
std::vector<float> output(const Kernels& kernels, const Context& x) {
  State state(x.Dv);
  return output(kernels, x, state);
}

TEST(AttendBf16, AgreesWithReferenceForEveryShape) {
  const std::ptrdiff_t shapes[][4] = {{1, 1, 1, 1},      {3, 5, 3, 2},        {24, 15, 15, 13},    {33, 33, 16, 100},
                                      {34, 31, 17, 128}, {144, 100, 31, 129}, {192, 128, 32, 333}, {576, 512, 32, 200}};
  for (const auto& [C, Dv, rows, keys] : shapes) {
    SCOPED_TRACE(testing::Message() << "C " << C << " Dv " << Dv << " rows " << rows << " keys " << keys);
    const Context x(C, Dv, rows, keys, static_cast<std::uint64_t>(C));
    expect_tables_agree(kAttentionBf16, [&](const Kernels& k) { return output(k, x); });
  }
}

TEST(AttendBf16, ProductsThatAreThereAlreadyAndSlicesOfValuesChangeNothing) {
  const Context x(96, 64, 29, 100, 5);
  for_each_table([&](const Kernels& kernels) {
    const std::vector<Bf16Pair> q = pairs_of(kernels, x.q, x.C, kLanes), k = bf16_rows(x.k, x.keys, x.C);
    State whole(x.Dv);
    output(kernels, x, whole);
    for (std::ptrdiff_t d = 0; d < x.Dv; d += 16) {
      std::vector<float> scores(static_cast<std::size_t>(kKeyBlock * kLanes), NAN), values;
      for (std::ptrdiff_t i = 0; i < x.keys; ++i)
        values.insert(values.end(), x.v.begin() + i * x.Dv + d, x.v.begin() + i * x.Dv + d + 16);
      const std::vector<Bf16Pair> v = pairs_of(kernels, values, x.keys, 16);
      kernels.matmul_bf16({q.data(), kLanes, x.C, k.data(), half(x.C), scores.data(), kLanes, x.keys});
      State slice(16);
      kernels.attend_bf16({q.data(), x.limit.data(), k.data(), half(x.C), v.data(), x.C, 16, x.keys, 0, x.scale,
                           slice.view(), scores.data(), nullptr, 0, true});
      EXPECT_EQ(slice.m, whole.m);
      EXPECT_EQ(slice.l, whole.l);
      EXPECT_EQ(slice.O, std::vector<float>(whole.O.begin() + d * kLanes, whole.O.begin() + (d + 16) * kLanes));
    }
  });
}

TEST(AttendBf16, IsAttentionOverRoundedNumbers) {
  // The f32 kernel on the same rounded queries, keys and values: what differs is the rounding of the weights.
  Context x(40, 24, 32, 300, 2);
  for (std::vector<float>* numbers : {&x.q, &x.k, &x.v})
    for (float& number : *numbers) number = bf16_to_f32(f32_to_bf16(number));
  State state(x.Dv);
  std::vector<float> scores(static_cast<std::size_t>(kKeyBlock * kLanes)), expected(std::size_t(x.rows * x.Dv));
  for (std::int64_t p = 0; p < x.keys; p += kKeyBlock) {
    reference::kernels.attend({.q = x.q.data(),
                               .q_pe = nullptr,
                               .limit = x.limit.data(),
                               .k = x.k.data() + p * x.C,
                               .k_stride = x.C,
                               .k_pe = nullptr,
                               .pe_stride = 0,
                               .v = x.v.data() + p * x.Dv,
                               .v_stride = x.Dv,
                               .C = x.C,
                               .P = 0,
                               .Dv = x.Dv,
                               .n = static_cast<std::ptrdiff_t>(std::min<std::int64_t>(kKeyBlock, x.keys - p)),
                               .position = p,
                               .scale = x.scale,
                               .state = state.view(),
                               .scores = scores.data()});
  }
  std::vector<float*> dst;
  for (std::ptrdiff_t i = 0; i < x.rows; ++i) dst.push_back(expected.data() + i * x.Dv);
  reference::kernels.attend_finish(state.view(), x.Dv, dst.data(), x.rows);
  for_each_table([&](const Kernels& k) { EXPECT_EQ(why_not_close(output(k, x), expected, kAttentionBf16), ""); });
}

TEST(AttendBf16, MaskedKeysHaveNoWeightAndIdleLanesStayFinite) {
  for_each_table([](const Kernels& kernels) {
    Context x(12, 6, 3, 200, 3);
    x.limit[0] = 1, x.limit[1] = 130, x.limit[2] = 200;
    State state(x.Dv);
    const std::vector<float> o = output(kernels, x, state);
    EXPECT_EQ(state.l[0], 1);  // one visible key: its value is the answer
    for (std::size_t d = 0; d < 6; ++d) EXPECT_EQ(o[d], bf16_to_f32(f32_to_bf16(x.v[d])));
    for (std::size_t lane = 3; lane < kLanes; ++lane) {
      EXPECT_EQ(state.m[lane], -INFINITY);
      EXPECT_EQ(state.l[lane], 0);
      for (std::size_t d = 0; d < 6; ++d) EXPECT_EQ(state.O[d * kLanes + lane], 0);
    }
  });
}

TEST(AttendBf16, PartlyFilledBlockGivesTheBitsOfTheFullOneUnderAMask) {
  const Context x(48, 24, 7, 300, 4);
  for_each_table([&](const Kernels& kernels) {
    for (const std::int64_t seen : {1, 2, 31, 33, 128, 129, 200, 256}) {
      Context now = x, later = x;
      now.keys = seen;
      for (std::size_t lane = 0; lane < 7; ++lane) now.limit[lane] = later.limit[lane] = seen;
      EXPECT_EQ(why_not_same_bits(output(kernels, later), output(kernels, now)), "") << seen;
    }
  });
}

TEST(AttendBf16, ResultOfARowDependsNeitherOnItsLaneNorOnTheOthers) {
  const Context x(48, 24, 32, 150, 5);
  for_each_table([&](const Kernels& kernels) {
    const std::vector<float> all = output(kernels, x);
    for (const std::size_t row : {0u, 5u, 17u, 31u}) {
      Context alone = x;
      alone.rows = 1;
      for (std::size_t i = 0; i < alone.q.size(); ++i)
        alone.q[i] = i % kLanes == 0 ? x.q[i + row] : static_cast<float>(NAN);
      const std::span<const float> expected(all.data() + row * 24, 24);
      EXPECT_EQ(why_not_same_bits(output(kernels, alone), expected), "") << row;
    }
  });
}

TEST(AttendBf16, NanInAKeyReachesExactlyTheRowsThatSeeIt) {
  Context x(16, 10, 4, 140, 7);
  x.k[130 * 16] = NAN;
  x.limit[0] = 140, x.limit[1] = 128, x.limit[2] = 140, x.limit[3] = 1;
  for_each_table([&](const Kernels& k) {
    const std::vector<float> o = output(k, x);
    EXPECT_TRUE(std::isnan(o[0]) && std::isfinite(o[10]) && std::isnan(o[20]) && std::isfinite(o[30]));
  });
}

TEST(AttendBf16, TablesAgreeOnNumbersOfEverySize) {
  // Also on subnormal ones, which the instruction takes and gives as 0.
  Random random(8);
  for (const double exponent : {-136.0, -128.0, -70.0, -62.0, 20.0}) {
    Context x(66, 20, 32, 130, 8);
    for (std::vector<float>* numbers : {&x.q, &x.k, &x.v})
      for (float& number : *numbers) number = static_cast<float>(number * std::exp2(exponent + random.uniform(-6, 6)));
    x.scale = exponent < 0 ? 0x1p120f : 0x1p-40f;
    std::vector<float> first;
    for (const Kernels* table : fast_tables()) {
      State state(x.Dv);
      std::vector<float> bits = output(*table, x, state);
      bits.insert(bits.end(), state.m.begin(), state.m.end());
      bits.insert(bits.end(), state.l.begin(), state.l.end());
      if (first.empty()) first = bits;
      EXPECT_EQ(why_not_same_bits(bits, first), "") << table->isa << ", 2^" << exponent;
    }
  }
}

TEST(MatmulBf16, AgreesWithReferenceForEveryShapeAndIsTheSameForEveryM) {
  Random random(9);
  for (const std::ptrdiff_t N : {1, 31, 32, 100, 128}) {
    for (const std::ptrdiff_t K : {1, 2, 33, 64, 513}) {
      for (const std::ptrdiff_t M : {1, 2, 7, 13, 128}) {
        SCOPED_TRACE(testing::Message() << "N " << N << " K " << K << " M " << M);
        const std::ptrdiff_t panels = (N + kLanes - 1) / kLanes, steps = half(K), stride = panels * kLanes + 16;
        std::vector<float> w_f32 = random.normals(panels * K * kLanes), x_f32 = random.normals(M * K);
        std::vector<Bf16Pair> w;
        for (std::ptrdiff_t p = 0; p < panels; ++p) {
          const std::vector<float> panel(w_f32.begin() + p * K * kLanes, w_f32.begin() + (p + 1) * K * kLanes);
          const std::vector<Bf16Pair> pairs = pairs_of(reference::kernels, panel, K, kLanes);
          w.insert(w.end(), pairs.begin(), pairs.end());
        }
        const std::vector<Bf16Pair> x = bf16_rows(x_f32, M, K);
        const auto product = [&](const Kernels& kernels, std::ptrdiff_t m0, std::ptrdiff_t m1) {
          std::vector<float> y(static_cast<std::size_t>((m1 - m0) * stride), 7);
          kernels.matmul_bf16({w.data(), N, K, x.data() + m0 * steps, steps, y.data(), stride, m1 - m0});
          return y;
        };
        expect_tables_agree(kMatmulBf16, [&](const Kernels& k) { return product(k, 0, M); });
        for_each_table([&](const Kernels& k) {
          const std::vector<float> all = product(k, 0, M);
          const std::span<const float> last(all.data() + (M - 1) * stride, static_cast<std::size_t>(stride));
          EXPECT_EQ(why_not_same_bits(product(k, M - 1, M), last), "");
        });
      }
    }
  }
}

TEST(PairRows, RoundsAndJoinsTheSameInEveryTable) {
  Random random(10);
  for (const std::ptrdiff_t rows : {1, 2, 3, 8}) {
    for (const std::ptrdiff_t n : {1, 7, 8, 15, 16, 33}) {
      std::vector<float> x = random.normals(rows * n);
      x[0] = 0x1.01p0f;  // a tie
      std::vector<std::uint16_t> x_bf16;
      for (const float number : x) x_bf16.push_back(f32_to_bf16(number));
      const std::vector<Bf16Pair> expected = pairs_of(reference::kernels, x, rows, n);
      EXPECT_EQ(expected[0] & 0xffffu, f32_to_bf16(x[0]));
      for_each_table([&](const Kernels& k) {
        EXPECT_EQ(pairs_of(k, x, rows, n), expected);
        std::vector<Bf16Pair> joined(static_cast<std::size_t>(half(rows) * (n + 1)));
        k.pair_rows({x_bf16.data(), DType::kBF16, n, rows, n, joined.data(), n + 1});
        for (std::ptrdiff_t s = 0; s < half(rows); ++s) {
          for (std::ptrdiff_t c = 0; c < n; ++c)
            EXPECT_EQ(joined[std::size_t(s * (n + 1) + c)], expected[std::size_t(s * n + c)]);
          EXPECT_EQ(joined[std::size_t(s * (n + 1) + n)], 0u) << "wrote beyond the row";
        }
      });
    }
  }
}

}  // namespace
}  // namespace kl::test
