#include "kernels/reference/kda_chunked.h"

#include "tests/numerics.h"
#include "tests/support/isa.h"
#include "tests/support/random.h"

namespace kl::test {
namespace {

/// How the decays of a test are drawn: log-decays uniform in [low, high], every `burst`-th token's in [low, 0.75 low].
struct Gates {
  const char* name;
  double low, high;
  int burst;
};

constexpr Gates kGates[] = {{"mild", -0.01, 0, 0},       {"wide", -5, 0, 0}, {"strong", -60, 0, 0},
                            {"bursts", -60, -1e-3, 5},   {"none", 0, 0, 0},  {"forget all", -1000, -500, 0},
                            {"all at once", -60, -60, 0}};

template <class Real>
struct Tokens {
  std::vector<Real> q, k, v, alpha, beta, S;
  std::ptrdiff_t T, K, V;

  Tokens(const Gates& gates, std::ptrdiff_t tokens, std::ptrdiff_t key, std::ptrdiff_t value)
      : T(tokens), K(key), V(value) {
    Random random(7);
    for (std::ptrdiff_t t = 0; t < T; ++t) {
      add_unit_vector(random, q, 1 / std::sqrt(static_cast<double>(K)));
      add_unit_vector(random, k, 1);
      const bool mild = gates.burst && t % gates.burst;
      for (std::ptrdiff_t i = 0; i < K; ++i) {
        alpha.push_back(static_cast<Real>(std::exp(random.uniform(mild ? -1e-3 : gates.low, mild ? 0 : gates.high))));
      }
      for (std::ptrdiff_t i = 0; i < V; ++i) v.push_back(static_cast<Real>(random.normal()));
      beta.push_back(static_cast<Real>(random.uniform(0, 1)));
    }
    for (std::ptrdiff_t i = 0; i < K * V; ++i) S.push_back(static_cast<Real>(random.normal()));
  }

  void add_unit_vector(Random& random, std::vector<Real>& to, double length) const {
    std::vector<double> x(static_cast<std::size_t>(K));
    double squares = 0;
    for (double& e : x) e = random.normal(), squares += e * e;
    for (const double e : x) to.push_back(static_cast<Real>(length * e / std::sqrt(squares)));
  }

  reference::KdaTokens<Real> view() const { return {q.data(), k.data(), v.data(), alpha.data(), beta.data(), T, K, V}; }
};

/// o, then S, by the recurrence (C = 0) or in chunks of C.
template <class Real>
std::vector<Real> run(const Tokens<Real>& x, std::ptrdiff_t C) {
  std::vector<Real> S = x.S, o(static_cast<std::size_t>(x.T * x.V));
  C == 0 ? reference::kda_recurrent(x.view(), S.data(), o.data())
         : reference::kda_chunked(x.view(), C, S.data(), o.data());
  o.insert(o.end(), S.begin(), S.end());
  return o;
}

constexpr std::ptrdiff_t kShapes[][3] = {{150, 24, 24}, {70, 16, 40}, {65, 33, 7}, {5, 1, 1}};

TEST(KdaChunked, EqualsTheRecurrenceInDoubleForAnyChunkLengthAndGate) {
  for (const Gates& gates : kGates) {
    for (const auto& [T, K, V] : kShapes) {
      const Tokens<double> x(gates, T, K, V);
      const std::vector<double> expected = run(x, 0);
      for (const std::ptrdiff_t C : {1, 2, 3, 16, 64}) {
        const std::vector<double> actual = run(x, C);
        double worst = 0;
        for (std::size_t i = 0; i < actual.size(); ++i) {
          ASSERT_TRUE(std::isfinite(actual[i]));
          worst = std::fmax(worst, std::fabs(actual[i] - expected[i]));
        }
        EXPECT_LE(worst, 1e-13) << gates.name << " C " << C << " K " << K << " V " << V;
      }
    }
  }
}

TEST(KdaChunked, EqualsTheRecurrenceInFloatForAnyChunkLengthAndGate) {
  for (const Gates& gates : kGates) {
    for (const auto& [T, K, V] : kShapes) {
      const Tokens<float> x(gates, T, K, V);
      const std::vector<float> expected = run(x, 0);
      for (const std::ptrdiff_t C : {1, 2, 3, 16, 64}) {
        EXPECT_EQ(why_not_close(run(x, C), expected, kKdaChunked), "") << gates.name << " C " << C << " K " << K;
      }
    }
  }
}

TEST(KdaChunked, WorkedExampleOfTheHeaderHolds) {
  const double q[] = {1, 1}, v[] = {6, 3}, alpha[] = {0.5, 0.25}, beta[] = {0.5, 0.5};
  for (const std::ptrdiff_t C : {0, 1, 2}) {
    double S = 8, o[2];
    const reference::KdaTokens<double> x{q, q, v, alpha, beta, 2, 1, 1};
    C == 0 ? reference::kda_recurrent(x, &S, o) : reference::kda_chunked(x, C, &S, o);
    EXPECT_EQ(o[0], 5);
    EXPECT_EQ(o[1], 17.0 / 8);
    EXPECT_EQ(S, 17.0 / 8);
  }
}

/// The kernels against the recurrence of the paper, from the same q, k, v, alpha and beta.
TEST(KdaRecurrence, OfEveryTableIsTheTextbookRecurrence) {
  for (const Gates& gates : kGates) {
    for (const auto& [T, K, V] : kShapes) {
      const Tokens<float> x(gates, T, K, V);
      std::vector<float> records;
      for (std::ptrdiff_t t = 0; t < T; ++t) {
        const float *q = &x.q[static_cast<std::size_t>(t * K)], *k = &x.k[static_cast<std::size_t>(t * K)];
        const float* alpha = &x.alpha[static_cast<std::size_t>(t * K)];
        double qk = 0;
        records.insert(records.end(), alpha, alpha + K);
        records.insert(records.end(), k, k + K);
        for (std::ptrdiff_t i = 0; i < K; ++i) records.push_back(k[i] * alpha[i]);
        for (std::ptrdiff_t i = 0; i < K; ++i) records.push_back(q[i] * alpha[i]), qk += double{q[i]} * k[i];
        records.push_back(static_cast<float>(qk));
        records.push_back(x.beta[static_cast<std::size_t>(t)]);
        records.resize(records.size() + 14);
      }
      const std::ptrdiff_t slices = (V + kKdaSlice - 1) / kKdaSlice;
      std::vector<float> sliced(static_cast<std::size_t>(slices * K * kKdaSlice));
      const auto at = [&, key = K](std::ptrdiff_t i, std::ptrdiff_t j) {
        return static_cast<std::size_t>((j / kKdaSlice * key + i) * kKdaSlice + j % kKdaSlice);
      };
      for (std::ptrdiff_t i = 0; i < K * V; ++i) sliced[at(i / V, i % V)] = x.S[static_cast<std::size_t>(i)];

      // Expected in double, from the f32 inputs.
      Tokens<double> exact(gates, 0, K, V);
      const auto widen = [](const std::vector<float>& from) { return std::vector<double>(from.begin(), from.end()); };
      exact.q = widen(x.q), exact.k = widen(x.k), exact.v = widen(x.v), exact.alpha = widen(x.alpha);
      exact.beta = widen(x.beta), exact.S = widen(x.S), exact.T = T;
      const std::vector<double> o_and_S = run(exact, 0);
      const std::vector<float> expected(o_and_S.begin(), o_and_S.end());

      for_each_table([&, tokens = T, key = K, value = V](const Kernels& kernels) {
        std::vector<float> S = sliced, o(static_cast<std::size_t>(tokens * value));
        kernels.kda_recurrence({records.data(), x.v.data(), value, o.data(), value, S.data(), key, value, tokens}, 0,
                               slices);
        const std::vector<float> expected_o(expected.begin(), expected.begin() + tokens * value);
        EXPECT_EQ(why_not_close(o, expected_o, kKdaOutput), "") << gates.name << " K " << key << " V " << value;
        std::vector<float> state;
        for (std::ptrdiff_t i = 0; i < key * value; ++i) state.push_back(S[at(i / value, i % value)]);
        const std::vector<float> expected_S(expected.begin() + tokens * value, expected.end());
        EXPECT_EQ(why_not_close(state, expected_S, kKdaState), "") << gates.name << " K " << key << " V " << value;
      });
    }
  }
}

}  // namespace
}  // namespace kl::test
