#include "tests/numerics.h"
#include "tests/support/isa.h"
#include "tests/support/random.h"

namespace kl::test {
namespace {

/// One head of raw inputs, as projections and convolution leave them.
struct Head {
  std::ptrdiff_t K, V, T;
  std::vector<float> q, k, f, b, v, dt_bias, S;

  Head(std::ptrdiff_t key, std::ptrdiff_t value, std::ptrdiff_t tokens, std::uint64_t seed)
      : K(key), V(value), T(tokens) {
    Random random(seed);
    q = random.normals(T * stride());
    k = random.normals(T * stride());
    f = random.normals(T * stride(), 3);
    b = random.normals(2 * T);
    v = random.normals(T * V);
    dt_bias = random.normals(K);
    S = random.normals(slices() * K * kKdaSlice);
    for (std::ptrdiff_t i = 0; i < static_cast<std::ptrdiff_t>(S.size()); ++i) {  // padding columns are zero
      const std::ptrdiff_t column = i / (K * kKdaSlice) * kKdaSlice + i % kKdaSlice;
      if (column >= V) S[static_cast<std::size_t>(i)] = 0;
    }
  }

  std::ptrdiff_t stride() const { return K + 3; }
  std::ptrdiff_t slices() const { return (V + kKdaSlice - 1) / kKdaSlice; }

  /// Gates of -exp(A_log) softplus(f + dt_bias) for an f that makes them (nearly) `g` everywhere, with A_log = 0.
  void set_gates(double g) {
    const double x = g == 0 ? -200 : -g > 30 ? -g : std::log(std::expm1(-g));
    for (float& e : f) e = static_cast<float>(x);
    for (float& e : dt_bias) e = 0;
  }
};

std::vector<float> records_of(const Kernels& kernels, const Head& head, float A_log = 0) {
  std::vector<float> records(static_cast<std::size_t>(head.T * KdaRecord::floats(head.K)), NAN);
  kernels.kda_prepare({head.q.data(), head.k.data(), head.stride(), head.f.data(), head.stride(), head.b.data(), 2,
                       head.dt_bias.data(), A_log, 1e-6f, head.K, head.T, records.data()});
  return records;
}

/// o, then the state, of tokens in pieces of the given sizes.
std::vector<float> recur(const Kernels& kernels, const Head& head, const std::vector<float>& records,
                         const std::vector<std::ptrdiff_t>& pieces) {
  std::vector<float> S = head.S, o(static_cast<std::size_t>(head.T * head.V), NAN);
  std::ptrdiff_t t = 0;
  for (const std::ptrdiff_t T : pieces) {
    kernels.kda_recurrence({records.data() + t * KdaRecord::floats(head.K), head.v.data() + t * head.V, head.V,
                            o.data() + t * head.V, head.V, S.data(), head.K, head.V, T},
                           0, head.slices());
    t += T;
  }
  o.insert(o.end(), S.begin(), S.end());
  return o;
}

constexpr std::ptrdiff_t kDims[][2] = {{1, 1},   {3, 5},   {15, 17}, {16, 31},   {17, 33},
                                       {31, 64}, {72, 72}, {100, 7}, {128, 128}, {33, 100}};

TEST(KdaPrepare, AgreesWithReferenceForEveryKeyDimension) {
  for (const auto& [K, V] : kDims) {
    SCOPED_TRACE(testing::Message() << "K " << K);
    for (const float A_log : {-3.0f, 0.0f, 2.5f}) {
      const Head head(K, V, 4, static_cast<std::uint64_t>(K));
      expect_tables_agree(kKdaRecord, [&](const Kernels& k) { return records_of(k, head, A_log); });
    }
  }
}

TEST(KdaPrepare, NormalisesEvenTinyAndHugeVectors) {
  for (const float scale : {1e-12f, 1e-4f, 1e15f, 1e30f}) {
    Head head(40, 1, 2, 5);
    for (float& e : head.q) e *= scale;
    for (float& e : head.k) e *= scale;
    expect_tables_agree(kKdaRecord, [&](const Kernels& k) { return records_of(k, head); });
  }
}

TEST(KdaRecurrence, AgreesWithReferenceForEveryShape) {
  for (const auto& [K, V] : kDims) {
    for (const std::ptrdiff_t T : {1, 2, 3, 70}) {
      SCOPED_TRACE(testing::Message() << "K " << K << " V " << V << " T " << T);
      const Head head(K, V, T, static_cast<std::uint64_t>(K * 1000 + T));
      const std::vector<float> records = records_of(reference::kernels, head);
      expect_tables_agree(kKdaState, [&](const Kernels& k) { return recur(k, head, records, {T}); });
    }
  }
}

TEST(KdaRecurrence, SurvivesGatesFromNoDecayToForgettingEverything) {
  for (const double gate : {0.0, -1e-6, -60.0, -80.0, -1000.0}) {
    Head head(64, 40, 50, 9);
    head.set_gates(gate);
    SCOPED_TRACE(testing::Message() << "g " << gate);
    expect_tables_agree(kKdaState, [&](const Kernels& k) { return recur(k, head, records_of(k, head), {50}); });
    if (gate == -1000) {  // nothing of the old state is left after one token
      Head other = head;
      for (float& e : other.S) e = 0;
      for_each_table([&](const Kernels& k) {
        const std::vector<float> records = records_of(k, head);
        EXPECT_EQ(recur(k, head, records, {50}), recur(k, other, records, {50}));
      });
    }
  }
}

/// The state after all tokens in double, from the same records.
std::vector<float> exact_state(const Head& head, const std::vector<float>& records) {
  std::vector<double> S(head.S.begin(), head.S.end());
  const auto at = [&](std::ptrdiff_t k, std::ptrdiff_t v) -> double& {
    return S[static_cast<std::size_t>((v / kKdaSlice * head.K + k) * kKdaSlice + v % kKdaSlice)];
  };
  for (std::ptrdiff_t t = 0; t < head.T; ++t) {
    const float* r = records.data() + t * KdaRecord::floats(head.K);
    const float *alpha = r + KdaRecord::kAlpha * head.K, *key = r + KdaRecord::kK * head.K;
    for (std::ptrdiff_t v = 0; v < head.V; ++v) {
      double read = 0;
      for (std::ptrdiff_t k = 0; k < head.K; ++k) read += double{key[k]} * (at(k, v) *= double{alpha[k]});
      const double u =
          double{r[KdaRecord::beta(head.K)]} * (double{head.v[static_cast<std::size_t>(t * head.V + v)]} - read);
      for (std::ptrdiff_t k = 0; k < head.K; ++k) at(k, v) += double{key[k]} * u;
    }
  }
  return {S.begin(), S.end()};
}

TEST(KdaRecurrence, RoundsTheStateOnceATokenWhereItIsKeptForLong) {
  Head head(64, 32, 2000, 11);
  head.set_gates(-6e-8);           // alpha = 1 - 2^-24
  for (float& e : head.b) e = -5;  // writes are small beside what is kept, so that roundings add up
  const std::vector<float> records = records_of(reference::kernels, head), expected = exact_state(head, records);
  for_each_table([&](const Kernels& k) {
    std::vector<float> S = recur(k, head, records, {head.T});
    S.erase(S.begin(), S.begin() + head.T * head.V);
    EXPECT_EQ(why_not_close(S, expected, kKdaLongMemory), "");
  });
}

TEST(KdaRecurrence, AnySplitOfTokensGivesTheSameBits) {
  const std::ptrdiff_t T = 60;
  for (const auto& [K, V] : {std::pair<std::ptrdiff_t, std::ptrdiff_t>{128, 64}, {37, 45}}) {
    const Head head(K, V, T, 3);
    for_each_table([&](const Kernels& k) {
      const std::vector<float> records = records_of(k, head), whole = recur(k, head, records, {T});
      EXPECT_EQ(why_not_same_bits(recur(k, head, records, std::vector<std::ptrdiff_t>(T, 1)), whole), "") << "by one";
      Random random(4);
      for (int repeat = 0; repeat < 10; ++repeat) {
        std::vector<std::ptrdiff_t> pieces;
        for (std::ptrdiff_t left = T; left > 0; left -= pieces.back()) pieces.push_back(1 + random.below(left));
        EXPECT_EQ(why_not_same_bits(recur(k, head, records, pieces), whole), "") << testing::PrintToString(pieces);
      }
    });
  }
}

/// As recur(), with the state kept in bf16.
std::vector<float> recur_bf16(const Kernels& kernels, const Head& head, const std::vector<float>& records,
                              const std::vector<std::ptrdiff_t>& pieces) {
  std::vector<std::uint16_t> S(head.S.size());
  for (std::size_t i = 0; i < S.size(); ++i) S[i] = f32_to_bf16(head.S[i]);
  std::vector<float> o(static_cast<std::size_t>(head.T * head.V), NAN);
  std::ptrdiff_t t = 0;
  for (const std::ptrdiff_t T : pieces) {
    kernels.kda_recurrence({records.data() + t * KdaRecord::floats(head.K), head.v.data() + t * head.V, head.V,
                            o.data() + t * head.V, head.V, S.data(), head.K, head.V, T, DType::kBF16},
                           0, head.slices());
    t += T;
  }
  for (const std::uint16_t x : S) o.push_back(bf16_to_f32(x));
  return o;
}

TEST(KdaRecurrence, StateInBf16IsTheSameForEverySplitAndCloseToTheReference) {
  const std::ptrdiff_t T = 40;
  for (const auto& [K, V] : {std::pair<std::ptrdiff_t, std::ptrdiff_t>{128, 128}, {37, 45}}) {
    const Head head(K, V, T, 13);
    const std::vector<float> records = records_of(reference::kernels, head);
    expect_tables_agree(kKdaBf16State, [&](const Kernels& k) {
      const std::vector<float> whole = recur_bf16(k, head, records, {T});
      EXPECT_EQ(why_not_same_bits(recur_bf16(k, head, records, std::vector<std::ptrdiff_t>(T, 1)), whole), "");
      EXPECT_EQ(why_not_same_bits(recur_bf16(k, head, records, {7, 1, 30, 2}), whole), "");
      return whole;
    });
  }
}

TEST(KdaRecurrence, SlicesMayBeGivenToDifferentThreads) {
  const Head head(50, 130, 7, 6);
  for_each_table([&](const Kernels& k) {
    const std::vector<float> records = records_of(k, head), whole = recur(k, head, records, {7});
    std::vector<float> S = head.S, o(static_cast<std::size_t>(7 * 130), NAN);
    const KdaRecurrenceArgs args{records.data(), head.v.data(), 130, o.data(), 130, S.data(), 50, 130, 7};
    for (const auto& [s0, s1] : {std::pair{3, 5}, {0, 1}, {1, 3}}) k.kda_recurrence(args, s0, s1);
    o.insert(o.end(), S.begin(), S.end());
    EXPECT_EQ(why_not_same_bits(o, whole), "");
  });
}

TEST(KdaRecurrence, PaddingColumnsStayZero) {
  const Head head(20, 5, 9, 8);
  for_each_table([&](const Kernels& k) {
    const std::vector<float> result = recur(k, head, records_of(k, head), {9});
    for (std::size_t i = 9 * 5; i < result.size(); ++i) {
      if ((i - 45) % 32 >= 5) {
        EXPECT_EQ(result[i], 0);
      }
    }
  });
}

TEST(KdaPrepare, ReferenceIsTheEquation) {
  const float q[] = {3, 4}, k[] = {0, 2}, f[] = {0, 1}, b[] = {0}, dt_bias[] = {0, -1};
  float r[KdaRecord::floats(2)];
  reference::kernels.kda_prepare({q, k, 2, f, 2, b, 1, dt_bias, std::log(2.0f), 0, 2, 1, r});
  // g = -2 ln 2 in both channels, alpha = 1/4; |q| = 5, scaled by 1/sqrt 2; |k| = 2
  const double h = 1 / std::sqrt(2.0);
  const double expected[] = {0.25, 0.25, 0, 1, 0, 0.25, 0.6 * h / 4, 0.8 * h / 4, 0.8 * h, 0.5};
  for (int i = 0; i < 10; ++i) EXPECT_NEAR(r[i], expected[i], 1e-7) << i;
}

}  // namespace
}  // namespace kl::test
