#include <algorithm>

#include "tests/numerics.h"
#include "tests/support/isa.h"
#include "tests/support/random.h"

namespace kl::test {
namespace {

/// Queries of up to kLanes rows against a context of keys.
struct Context {
  std::ptrdiff_t C, P, Dv, rows;
  std::int64_t keys;
  std::vector<float> q, q_pe, k, k_pe, v;
  std::vector<std::int64_t> limit;
  float scale;

  Context(std::ptrdiff_t channels, std::ptrdiff_t pe, std::ptrdiff_t values, std::ptrdiff_t rows_, std::int64_t keys_,
          std::uint64_t seed, double spread = 1.5)
      : C(channels), P(pe), Dv(values), rows(rows_), keys(keys_) {
    Random random(seed);
    q = random.normals(rows * C, spread);
    q_pe = random.normals(rows * P, spread);
    k = random.normals(keys * (C + 1));
    k_pe = random.normals(keys * (P + 2));
    v = random.normals(keys * (Dv + 3));
    scale = static_cast<float>(1 / std::sqrt(static_cast<double>(C + P)));
    for (std::ptrdiff_t i = 0; i < kLanes; ++i) limit.push_back(i < rows ? keys : 0);
  }
};

/// Softmax state with its storage.
struct State {
  std::vector<float> m, l, O;
  explicit State(std::ptrdiff_t Dv) : m(kLanes, -INFINITY), l(kLanes), O(static_cast<std::size_t>(Dv * kLanes)) {}
  AttendState view() { return {m.data(), l.data(), O.data()}; }
};

std::vector<float> pack(const Kernels& kernels, const std::vector<float>& rows_of_n, std::ptrdiff_t rows,
                        std::ptrdiff_t n) {
  std::vector<const float*> src;
  for (std::ptrdiff_t i = 0; i < rows; ++i) src.push_back(rows_of_n.data() + i * n);
  std::vector<float> dst(static_cast<std::size_t>(n * kLanes), NAN);
  kernels.pack_lanes(src.data(), rows, n, dst.data());
  return dst;
}

/// Adds keys [from, to) to the state, in blocks of the grid.
void attend(const Kernels& kernels, const Context& x, std::int64_t from, std::int64_t to, State& state) {
  const std::vector<float> q = pack(kernels, x.q, x.rows, x.C), q_pe = pack(kernels, x.q_pe, x.rows, x.P);
  std::vector<float> scores(static_cast<std::size_t>(kKeyBlock * kLanes), NAN);
  for (std::int64_t p = from; p < to; p += kKeyBlock) {
    const std::ptrdiff_t n = static_cast<std::ptrdiff_t>(std::min<std::int64_t>(kKeyBlock, to - p));
    kernels.attend({q.data(), q_pe.data(), x.limit.data(), x.k.data() + p * (x.C + 1), x.C + 1,
                    x.k_pe.data() + p * (x.P + 2), x.P + 2, x.v.data() + p * (x.Dv + 3), x.Dv + 3, x.C, x.P, x.Dv, n, p,
                    x.scale, state.view(), scores.data()});
  }
}

std::vector<float> finish(const Kernels& kernels, State& state, std::ptrdiff_t Dv, std::ptrdiff_t rows) {
  std::vector<float> out(static_cast<std::size_t>(rows * Dv), NAN);
  std::vector<float*> dst;
  for (std::ptrdiff_t i = 0; i < rows; ++i) dst.push_back(out.data() + i * Dv);
  kernels.attend_finish(state.view(), Dv, dst.data(), rows);
  return out;
}

std::vector<float> output(const Kernels& kernels, const Context& x) {
  State state(x.Dv);
  attend(kernels, x, 0, x.keys, state);
  return finish(kernels, state, x.Dv, x.rows);
}

TEST(Attend, AgreesWithReferenceForEveryShape) {
  const std::ptrdiff_t shapes[][5] = {{1, 0, 1, 1, 1},         {3, 1, 5, 3, 2},        {16, 8, 15, 15, 13},
                                      {17, 16, 33, 16, 100},   {31, 3, 31, 17, 128},   {72, 72, 100, 31, 129},
                                      {128, 64, 128, 32, 333}, {512, 64, 512, 32, 200}};
  for (const auto& [C, P, Dv, rows, keys] : shapes) {
    SCOPED_TRACE(testing::Message() << "C " << C << " P " << P << " Dv " << Dv << " rows " << rows << " keys " << keys);
    const Context x(C, P, Dv, rows, keys, static_cast<std::uint64_t>(C));
    expect_tables_agree(kAttention, [&](const Kernels& k) { return output(k, x); });
  }
}

TEST(Attend, ReferenceIsSoftmaxAttention) {
  const Context x(20, 6, 9, 5, 150, 2);
  const std::vector<float> o = output(reference::kernels, x);
  for (std::ptrdiff_t row = 0; row < x.rows; ++row) {
    std::vector<double> p;
    double sum = 0;
    for (std::ptrdiff_t i = 0; i < x.keys; ++i) {
      double s = 0;
      for (std::ptrdiff_t c = 0; c < x.C; ++c)
        s += double{x.q[std::size_t(row * x.C + c)]} * x.k[std::size_t(i * (x.C + 1) + c)];
      for (std::ptrdiff_t c = 0; c < x.P; ++c)
        s += double{x.q_pe[std::size_t(row * x.P + c)]} * x.k_pe[std::size_t(i * (x.P + 2) + c)];
      sum += p.emplace_back(std::exp(s * double{x.scale}));
    }
    for (std::ptrdiff_t d = 0; d < x.Dv; ++d) {
      double expected = 0;
      for (std::ptrdiff_t i = 0; i < x.keys; ++i)
        expected += p[std::size_t(i)] / sum * x.v[std::size_t(i * (x.Dv + 3) + d)];
      EXPECT_NEAR(o[std::size_t(row * x.Dv + d)], expected, 1e-6);
    }
  }
}

TEST(Attend, MaskedKeysHaveNoWeightAndIdleLanesStayFinite) {
  for_each_table([](const Kernels& kernels) {
    Context x(8, 4, 6, 3, 200, 3);
    x.limit[0] = 1, x.limit[1] = 130, x.limit[2] = 200;
    State state(x.Dv);
    attend(kernels, x, 0, x.keys, state);
    const std::vector<float> o = finish(kernels, state, x.Dv, 3);
    EXPECT_EQ(state.l[0], 1);  // one visible key: its value is the answer
    for (std::size_t d = 0; d < 6; ++d) EXPECT_EQ(o[d], x.v[d]);
    for (std::size_t lane = 3; lane < kLanes; ++lane) {
      EXPECT_EQ(state.m[lane], -INFINITY);
      EXPECT_EQ(state.l[lane], 0);
      for (std::size_t d = 0; d < 6; ++d) EXPECT_EQ(state.O[d * kLanes + lane], 0);
    }
  });
}

TEST(Attend, PartlyFilledBlockGivesTheBitsOfTheFullOneUnderAMask) {
  const Context x(40, 8, 24, 7, 300, 4);
  for_each_table([&](const Kernels& kernels) {
    for (const std::int64_t seen : {1, 31, 33, 128, 129, 200, 256}) {
      Context now = x, later = x;
      now.keys = seen;
      for (std::size_t lane = 0; lane < 7; ++lane) now.limit[lane] = later.limit[lane] = seen;
      EXPECT_EQ(why_not_same_bits(output(kernels, later), output(kernels, now)), "") << seen;
    }
  });
}

TEST(Attend, ResultOfARowDependsNeitherOnItsLaneNorOnTheOthers) {
  const Context x(40, 8, 24, 32, 150, 5);
  for_each_table([&](const Kernels& kernels) {
    const std::vector<float> all = output(kernels, x);
    for (const std::size_t row : {0u, 5u, 17u, 31u}) {
      Context alone = x;
      alone.rows = 1;
      alone.q.assign(x.q.begin() + std::ptrdiff_t(row) * x.C, x.q.begin() + std::ptrdiff_t(row + 1) * x.C);
      alone.q_pe.assign(x.q_pe.begin() + std::ptrdiff_t(row) * x.P, x.q_pe.begin() + std::ptrdiff_t(row + 1) * x.P);
      const std::span<const float> expected(all.data() + row * 24, 24);
      EXPECT_EQ(why_not_same_bits(output(kernels, alone), expected), "") << row;
    }
  });
}

TEST(Attend, IsStableForLargeAndFewForSpreadScores) {
  for (const double spread : {0.01, 8.0, 100.0}) {
    const Context x(64, 16, 32, 9, 260, 6, spread);
    SCOPED_TRACE(spread);
    expect_tables_agree(
        {kAttention.eps_of_peak * std::max(1.0, spread / 2), "scores carry eps of their own size into exp"},
        [&](const Kernels& k) { return output(k, x); });
  }
}

TEST(Attend, NanInAKeyReachesExactlyTheRowsThatSeeIt) {
  Context x(12, 4, 10, 4, 140, 7);
  x.k[130 * 13] = NAN;
  x.limit[0] = 140, x.limit[1] = 128, x.limit[2] = 140, x.limit[3] = 1;
  expect_tables_agree(kAttention, [&](const Kernels& k) { return output(k, x); });
  const std::vector<float> o = output(reference::kernels, x);
  EXPECT_TRUE(std::isnan(o[0]) && std::isfinite(o[10]) && std::isnan(o[20]) && std::isfinite(o[30]));
}

TEST(AttendMerge, StretchesMergedInOrderAreTheWholeContext) {
  for (const std::ptrdiff_t rows : {1, 8, 32}) {
    Context x(40, 8, 33, rows, 600, 8);
    x.limit[0] = 200;  // nothing to see in the later stretches
    const auto merged = [&](const Kernels& kernels) {
      State total(x.Dv);
      for (const std::int64_t from : {0, 256, 512}) {
        State part(x.Dv);
        attend(kernels, x, from, std::min<std::int64_t>(from + 256, 600), part);
        kernels.attend_merge(total.view(), part.view(), x.Dv);
      }
      return finish(kernels, total, x.Dv, rows);
    };
    expect_tables_agree(kAttention, merged);
    for_each_table([&](const Kernels& k) { EXPECT_EQ(why_not_close(merged(k), output(k, x), kAttention), ""); });
  }
}

TEST(PackLanes, TransposesAndClearsTheRest) {
  Random random(9);
  for (const std::ptrdiff_t rows : {0, 1, 7, 8, 9, 16, 31, 32}) {
    for (const std::ptrdiff_t n : {1, 7, 8, 9, 33}) {
      const std::vector<float> src = random.normals(rows * n);
      for_each_table([&](const Kernels& kernels) {
        const std::vector<float> dst = pack(kernels, src, rows, n);
        for (std::ptrdiff_t c = 0; c < n; ++c) {
          for (std::ptrdiff_t lane = 0; lane < kLanes; ++lane) {
            const float expected = lane < rows ? src[static_cast<std::size_t>(lane * n + c)] : 0;
            ASSERT_EQ(dst[static_cast<std::size_t>(c * kLanes + lane)], expected) << c << " " << lane;
          }
        }
      });
    }
  }
}

}  // namespace
}  // namespace kl::test
