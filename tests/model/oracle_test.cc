// The whole model against float64 goldens and other people's implementations (tests/golden/oracle/README.md).
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>

#include "kernels/select.h"
#include "tests/model/recorder.h"
#include "tests/support/golden.h"

namespace kl::test {
namespace {

/// Checkpoint x kernel table x form of MLA.
struct Case {
  std::string checkpoint, isa;
  MlaForm form;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* checkpoint : {"tiny", "headdims", "grouped", "softmax", "stress"})
    for (const Kernels* k : available_kernels())
      for (const MlaForm form : {MlaForm::kAbsorbed, MlaForm::kExpanded}) all.push_back({checkpoint, k->isa, form});
  return all;
}

class Oracle : public testing::TestWithParam<Case> {
 protected:
  Oracle() : golden(GetParam().checkpoint) {}

  Model open(ModelOptions options = {}) const {
    options.isa = GetParam().isa;
    options.mla_form = GetParam().form;
    options.threads = 2;
    return Model::open(golden.dir, options);
  }

  /// The row of logits_f64 that belongs to position `t`, or -1.
  std::ptrdiff_t golden_row(std::int64_t t) const {
    if (!golden.has("positions")) return t;
    const std::vector<double>& p = golden["positions"].values;
    const auto at = std::find(p.begin(), p.end(), static_cast<double>(t));
    return at == p.end() ? -1 : at - p.begin();
  }

  /// Best relative error of the f32 implementations recorded with the golden.
  double best_f32_of_others() const {
    double best = 1;
    for (const auto& [name, result] : golden.facts["cross_check"]["results"].items())
      if (name.find("f32") != std::string::npos && result.contains("rel_to_max_logit") &&
          result["rel_to_max_logit"].is_number())
        best = std::min(best, result["rel_to_max_logit"].get<double>());
    return best;
  }

  Golden golden;
};

double peak(const std::vector<double>& v) {
  double m = 0;
  for (const double x : v) m = std::max(m, std::fabs(x));
  return m;
}

/// Largest difference between a row and row `r` of a golden matrix.
double row_error(const std::vector<float>& row, const Array& golden, std::ptrdiff_t r) {
  double worst = 0;
  for (std::size_t i = 0; i < row.size(); ++i) {
    const double error = std::fabs(row[i] - golden.values[static_cast<std::size_t>(r) * row.size() + i]);
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  return worst;
}

TEST_P(Oracle, LogitsAreAsExactAsTheBestF32Implementation) {
  Model model = open();
  const auto first = golden.tokens("tokens"), second = golden.tokens("tokens2");
  SequenceState a = model.make_cache(), b = model.make_cache();
  const SequenceInput batch[] = {{&a, first, WantLogits::kAll}, {&b, second, WantLogits::kAll}};
  Recorder recorder;
  ASSERT_EQ(model.forward(batch, recorder), static_cast<std::int64_t>(first.size() + second.size()));

  const Array &logits = golden["logits_f64"], &logits2 = golden["logits2_f64"];
  const double scale = std::max(peak(logits.values), peak(logits2.values));
  double worst = 0;
  std::size_t compared = 0;
  for (const auto& [key, row] : recorder.logits) {
    const std::ptrdiff_t r = key.first == 0 ? golden_row(key.second) : key.second;
    if (r < 0) continue;
    worst = std::max(worst, row_error(row, key.first == 0 ? logits : logits2, r));
    ++compared;
  }
  EXPECT_EQ(compared, static_cast<std::size_t>(logits.shape[0] + logits2.shape[0]));
  std::printf("%-9s %-9s %-8s max error %.2e of the largest logit; best of others %.2e\n",
              GetParam().checkpoint.c_str(), GetParam().isa.c_str(),
              GetParam().form == MlaForm::kAbsorbed ? "absorbed" : "expanded", worst / scale, best_f32_of_others());
  EXPECT_LE(worst / scale, 1.5 * best_f32_of_others());
}

TEST_P(Oracle, HiddenStreamsAndRouterChoicesAgree) {
  Model model = open();
  const auto tokens = golden.tokens("tokens");
  SequenceState state = model.make_cache();
  const SequenceInput input{&state, tokens, WantLogits::kLast};
  Recorder recorder(true);
  model.forward({&input, 1}, recorder);
  for (int layer = 0; layer < model.args().num_hidden_layers; ++layer) {
    const std::string prefix = "layer." + std::to_string(layer) + ".";
    if (!golden.has(prefix + "hidden")) {
      ASSERT_EQ(GetParam().checkpoint, "stress") << "only stress has no per-token goldens";
      continue;
    }
    const double bound = 2e-5 * peak(golden[prefix + "hidden"].values);
    for (const auto& [key, row] : recorder.hidden[layer])
      ASSERT_LE(row_error(row, golden[prefix + "hidden"], key.second), bound)
          << prefix << "hidden, token " << key.second;
    EXPECT_EQ(golden.has(prefix + "router_ids"), model.args().is_moe(layer));
    if (!model.args().is_moe(layer)) continue;
    for (const auto& [key, ids] : recorder.router_ids[layer]) {
      const auto A = static_cast<std::ptrdiff_t>(ids.size());
      const double* expected = golden[prefix + "router_ids"].values.data() + key.second * A;
      ASSERT_TRUE(std::equal(ids.begin(), ids.end(), expected)) << prefix << "router_ids, token " << key.second;
      ASSERT_LE(row_error(recorder.router_weights[layer].at(key), golden[prefix + "router_weights"], key.second), 2e-5);
    }
  }
}

TEST_P(Oracle, StatesAfterThePromptAgree) {
  Model model = open();
  SequenceState state;
  logits_of(model, golden.tokens("tokens"), {1u << 30}, &state);
  int compared = 0;
  for (int layer = 0; layer < model.args().num_hidden_layers; ++layer) {
    const std::string prefix = "layer." + std::to_string(layer) + ".";
    const std::pair<const char*, std::vector<float>> arrays[] = {{"kda_state", state.kda_state(layer)},
                                                                 {"conv_state", state.conv_state(layer)},
                                                                 {"mla_latent", state.mla_latent(layer)},
                                                                 {"mla_k_pe", state.mla_k_pe(layer)}};
    for (const auto& [name, values] : arrays) {
      if (!golden.has(prefix + name)) continue;
      const Array& expected = golden[prefix + name];
      ASSERT_EQ(values.size(), expected.values.size()) << prefix << name;
      EXPECT_LE(row_error(values, expected, 0), 2e-5 * peak(expected.values)) << prefix << name;
      ++compared;
    }
  }
  EXPECT_GE(compared, 3);
}

TEST_P(Oracle, GreedyContinuationIsEqual) {
  Model model = open();
  SequenceState state = model.make_cache();
  std::vector<float> logits = model.forward(state, golden.tokens("tokens"));
  for (const Token expected : golden.tokens("greedy")) {
    const Token best = static_cast<Token>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    ASSERT_EQ(best, expected);
    logits = model.forward(state, {&best, 1});
  }
}

void PrintTo(const Case& c, std::ostream* out) { *out << c.checkpoint << " on " << c.isa; }

std::string name_of(const testing::TestParamInfo<Case>& info) {
  return info.param.checkpoint + "_" + info.param.isa +
         (info.param.form == MlaForm::kAbsorbed ? "_absorbed" : "_expanded");
}
INSTANTIATE_TEST_SUITE_P(Checkpoints, Oracle, testing::ValuesIn(cases()), name_of);

/// A convention of another implementation, reproduced by a switch.
struct Variant {
  const char* array;
  ModelOptions options;
};

class OracleVariant : public testing::TestWithParam<Variant> {};

TEST_P(OracleVariant, SwitchReproducesTheOtherConvention) {
  const Golden golden("tiny");
  Model model = Model::open(golden.dir, GetParam().options);
  const auto rows = logits_of(model, golden.tokens("tokens"));
  const Array &expected = golden[GetParam().array], &ours = golden["logits_f64"];
  double error = 0, distance = 0;
  for (std::size_t t = 0; t < rows.size(); ++t) {
    error = std::max(error, row_error(rows[t], expected, static_cast<std::ptrdiff_t>(t)));
    distance = std::max(distance, row_error(rows[t], ours, static_cast<std::ptrdiff_t>(t)));
  }
  EXPECT_LE(error, 2e-4);
  EXPECT_GT(distance, 1e-3) << "the switch has no effect";
}

INSTANTIATE_TEST_SUITE_P(Tiny, OracleVariant,
                         testing::Values(Variant{"variant.kv_a_eps_1e-5", {.kv_a_norm_eps = 1e-5f}},
                                         Variant{"variant.biased_router", {.router_weights = RouterWeights::kHf}},
                                         Variant{"variant.l2_mlx_old", {.kv_a_norm_eps = 1e-5f, .l2_norm_eps = 32e-6f}},
                                         Variant{"variant.l2_llamacpp",
                                                 {.kv_a_norm_eps = 1e-5f, .l2_norm_eps = 1e-5f}}),
                         [](const auto& variant) {
                           std::string name = variant.param.array;
                           std::replace_if(
                               name.begin(), name.end(),
                               [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
                           return name;
                         });

}  // namespace
}  // namespace kl::test
