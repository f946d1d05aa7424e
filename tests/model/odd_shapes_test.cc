// Dimensions no released model has, but a config may state: every kernel table must agree with the reference on them.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>

#include "kernels/select.h"
#include "kl/synth.h"
#include "tests/model/recorder.h"

namespace kl::test {
namespace {

struct Shape {
  const char* name;
  void (*change)(ModelArgs&);
  const char* dtype = "bf16";
};

void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name; }

const Shape kShapes[] = {
    {"AllKda", [](ModelArgs& a) { a.layer_kinds.assign(a.layer_kinds.size(), LayerKind::kKda); }},
    {"AllMla", [](ModelArgs& a) { a.layer_kinds.assign(a.layer_kinds.size(), LayerKind::kMla); }},
    {"NoExperts", [](ModelArgs& a) { a.num_experts = 0; }},
    {"NoDenseLayer", [](ModelArgs& a) { a.first_k_dense_replace = 0; }},
    {"OneExpertPerToken", [](ModelArgs& a) { a.num_experts_per_token = 1; }},
    {"EveryExpertChosen", [](ModelArgs& a) { a.num_experts_per_token = a.num_experts; }},
    {"NoSharedExpert", [](ModelArgs& a) { a.num_shared_experts = 0; }},
    {"ThreeSharedExperts", [](ModelArgs& a) { a.num_shared_experts = 3; }},
    {"Softmax", [](ModelArgs& a) { a.router_activation = RouterActivation::kSoftmax; }},
    {"NoSharedKeyPart", [](ModelArgs& a) { a.qk_rope_head_dim = 0; }},
    {"OddWidths",
     [](ModelArgs& a) {
       a.hidden_size = 90;
       a.intermediate_size = 131;
       a.moe_intermediate_size = 37;
       a.vocab_size = 301;
     }},
    {"OddKdaHeads",
     [](ModelArgs& a) {
       a.kda_num_heads = 3;
       a.kda_head_dim = 40;
     }},
    {"TinyKdaHeads", [](ModelArgs& a) { a.kda_head_dim = 5; }},
    {"OddMlaHeads",
     [](ModelArgs& a) {
       a.num_attention_heads = 5;
       a.qk_nope_head_dim = 24;
       a.qk_rope_head_dim = 7;
       a.v_head_dim = 19;
       a.kv_lora_rank = 45;
     }},
    {"TwoTaps", [](ModelArgs& a) { a.kda_conv_size = 2; }},
    {"SixTaps", [](ModelArgs& a) { a.kda_conv_size = 6; }},
    {"HalfPrecision", [](ModelArgs&) {}, "f16"},
    {"SinglePrecision", [](ModelArgs&) {}, "f32"},
};

/// The largest difference, as a part of the largest expected value.
double worst_error(const std::vector<std::vector<float>>& rows, const std::vector<std::vector<float>>& expected) {
  double worst = 0, largest = 0;
  for (std::size_t t = 0; t < rows.size(); ++t) {
    for (std::size_t i = 0; i < rows[t].size(); ++i) {
      const double error = std::fabs(double{rows[t][i]} - expected[t][i]);
      worst = std::isnan(error) ? INFINITY : std::fmax(worst, error);
      largest = std::fmax(largest, std::fabs(double{expected[t][i]}));
    }
  }
  return worst / largest;
}

class OddShapes : public testing::TestWithParam<Shape> {
 protected:
  OddShapes() : dir_(std::filesystem::temp_directory_path() / ("kl_shapes_" + std::to_string(getpid()))) {
    std::filesystem::remove_all(dir_);
  }
  ~OddShapes() override { std::filesystem::remove_all(dir_); }

  std::vector<Token> synthesize_model(std::size_t count) const {
    ModelArgs args = ModelArgs::like("tiny");
    GetParam().change(args);
    SynthOptions options;
    options.dtype = GetParam().dtype;
    options.seed = 3;
    synthesize(args, dir_, options);

    std::vector<Token> tokens;
    for (std::size_t t = 0; t < count; ++t) tokens.push_back(static_cast<Token>(t * 37) % args.vocab_size);
    return tokens;
  }

  std::filesystem::path dir_;
};

TEST_P(OddShapes, TablesAgreeAndSplitsDoNotMatter) {
  const std::vector<Token> tokens = synthesize_model(70);
  Model reference = Model::open(dir_, {.threads = 1, .isa = "reference", .mla_form = MlaForm::kAbsorbed});
  const auto expected = logits_of(reference, tokens);
  for (const Kernels* k : available_kernels()) {
    for (const MlaForm form : {MlaForm::kAbsorbed, MlaForm::kExpanded}) {
      Model model = Model::open(dir_, {.threads = 2, .isa = k->isa, .mla_form = form});
      const auto rows = logits_of(model, tokens);
      EXPECT_LE(worst_error(rows, expected), 2e-5) << k->isa;
      EXPECT_EQ(logits_of(model, tokens, {1, 2, 30}), rows) << k->isa;
    }
  }
}

TEST_P(OddShapes, AttentionOnBf16IsTheSameBitsOnEveryFastTableAndForEverySplit) {
  const std::vector<Token> tokens = synthesize_model(140);
  Model f32 = Model::open(dir_, {.threads = 1});
  const auto close_to = logits_of(f32, tokens);
  for (const MlaForm form : {MlaForm::kAbsorbed, MlaForm::kExpanded}) {
    std::vector<std::vector<float>> first;
    for (const Kernels* k : available_kernels()) {
      ModelOptions options{.threads = 2, .isa = k->isa, .mla_form = form, .cache_type = CacheType::kBf16};
      Model model = Model::open(dir_, options);
      const auto rows = logits_of(model, tokens);
      EXPECT_LE(worst_error(rows, close_to), 0.03) << k->isa;
      EXPECT_EQ(logits_of(model, tokens, {1, 2, 30, 96}), rows) << k->isa;
      if (k == &reference::kernels) continue;  // by budget only
      if (first.empty()) first = rows;
      EXPECT_EQ(rows, first) << k->isa;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Synthetic, OddShapes, testing::ValuesIn(kShapes),
                         [](const auto& shape) { return std::string(shape.param.name); });

}  // namespace
}  // namespace kl::test
