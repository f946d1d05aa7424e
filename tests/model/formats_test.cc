// Models as other programs quantised them, against the float64 reference over the weights their files describe
// (tests/golden/oracle/README.md, section 5).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/select.h"
#include "tests/model/recorder.h"
#include "tests/support/golden.h"

namespace kl::test {
namespace {

struct Case {
  std::string folder, isa;
  MlaForm form;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* folder : {"tiny-mlx-4bit-g32", "tiny-mlx-mixed", "tiny-mlx-mxfp4-g32", "tiny-mlx-old-kvb-4bit-g32",
                             "tiny-gguf-q4_0", "headdims-gguf-q4_k_m"})
    for (const Kernels* k : available_kernels())
      for (const MlaForm form : {MlaForm::kAbsorbed, MlaForm::kExpanded}) all.push_back({folder, k->isa, form});
  return all;
}

class Format : public testing::TestWithParam<Case> {
 protected:
  static bool is_gguf_case() { return GetParam().folder.find("gguf") != std::string::npos; }

  /// Largest error over all positions of the prompt.
  double error(ModelOptions options, const std::string& expected) const {
    const Golden golden(GetParam().folder);
    options.isa = GetParam().isa;
    options.mla_form = GetParam().form;
    options.threads = 2;
    options.cache_type = CacheType::kF32;
    Model model = Model::open(is_gguf_case() ? golden.dir / "model.gguf" : golden.dir, options);
    const auto rows = logits_of(model, golden.tokens("tokens"));
    const std::vector<double>& truth = golden[expected].values;
    double worst = 0;
    std::size_t i = 0;
    for (const std::vector<float>& row : rows)
      for (const float logit : row) worst = std::max(worst, std::fabs(double{logit} - truth.at(i++)));
    EXPECT_EQ(i, truth.size());
    return worst;
  }
};

TEST_P(Format, GivesTheLogitsOfTheWeightsItDescribes) {
  EXPECT_LE(error({.compute = Compute::kF32}, "logits_default"), 2e-4);
}

TEST_P(Format, GivesTheLogitsOfItsOwnToolWithThatToolsEps) {
  const float l2_eps = is_gguf_case() ? 1e-5f : 0;  // llama.cpp's
  EXPECT_LE(error({.compute = Compute::kF32, .kv_a_norm_eps = 1e-5f, .l2_norm_eps = l2_eps}, "logits_ref"), 2e-4);
  EXPECT_GT(error({.compute = Compute::kF32}, "logits_ref"), 2e-4) << "the switch has no effect";
}

INSTANTIATE_TEST_SUITE_P(Folders, Format, testing::ValuesIn(cases()), [](const auto& instance) {
  std::string name = instance.param.folder + "_" + instance.param.isa;
  name += instance.param.form == MlaForm::kAbsorbed ? "_absorbed" : "_expanded";
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(Format, IsMultipliedInIntegersByDefault) {
  const Golden golden("tiny-mlx-4bit-g32");
  Model integers = Model::open(golden.dir), f32 = Model::open(golden.dir, {.compute = Compute::kF32});
  const auto a = logits_of(integers, golden.tokens("tokens")), b = logits_of(f32, golden.tokens("tokens"));
  EXPECT_NE(a, b);
  for (std::size_t t = 0; t < a.size(); ++t)
    for (std::size_t i = 0; i < a[t].size(); ++i) ASSERT_TRUE(std::isfinite(a[t][i]));
}

}  // namespace
}  // namespace kl::test
