// What Model::set_profile counts, against the sizes of the tensors a pass touches.
#include <gtest/gtest.h>

#include <chrono>
#include <set>

#include "config/tensor_table.h"
#include "kl/model.h"
#include "tests/model/recorder.h"
#include "tests/support/error_of.h"
#include "tests/support/golden.h"

namespace kl::test {
namespace {

constexpr double kF32 = 4;  // bytes of every weight of the "tiny" golden

using Fma = std::integral_constant<std::size_t, static_cast<std::size_t>(Arithmetic::kFma)>;

/// The part that reads a matrix; kRest for what is no matrix.
ModelPart part_of(const ReleasedTensor& tensor) {
  const std::string role(tensor.role);
  if (tensor.shape.size() != 2 || role == "embed_tokens") return ModelPart::kRest;
  if (role == "lm_head") return ModelPart::kHead;
  if (role == "moe.router") return ModelPart::kRouter;
  if (role == "mla.w_uk") return ModelPart::kMla;  // all of kv_b_proj
  if (role.starts_with("kda.") || role.starts_with("mla.")) return ModelPart::kProjections;
  return ModelPart::kExperts;
}

/// Elements of the matrices a pass reads when it chooses the experts of `recorder`, by part.
std::map<ModelPart, double> elements_read(const ModelArgs& args, const Recorder& recorder) {
  std::map<int, std::set<std::int32_t>> chosen;
  for (const auto& [layer, rows] : recorder.router_ids)
    for (const auto& [key, ids] : rows) chosen[layer].insert(ids.begin(), ids.end());
  std::map<ModelPart, double> elements;
  for (const ReleasedTensor& tensor : released_tensors(args)) {
    if (const auto at = tensor.name.find(".experts."); at != std::string::npos) {
      const int expert = std::stoi(tensor.name.substr(at + 9));
      if (!chosen[tensor.layer].contains(expert)) continue;
    }
    if (tensor.shape.size() == 2)
      elements[part_of(tensor)] += static_cast<double>(tensor.shape[0]) * static_cast<double>(tensor.shape[1]);
  }
  return elements;
}

/// Bytes of the KDA states and of the cached latents of a sequence.
struct StateBytes {
  double kda = 0, latents = 0;
  StateBytes(const SequenceState& state, int layers) {
    const auto bytes = [](const std::vector<float>& v) { return kF32 * static_cast<double>(v.size()); };
    for (int i = 0; i < layers; ++i) {
      kda += bytes(state.kda_state(i)) + bytes(state.conv_state(i));
      latents += bytes(state.mla_latent(i)) + bytes(state.mla_k_pe(i));
    }
  }
};

class Profiled : public testing::Test {
 protected:
  Profiled() : golden_("tiny"), tokens_(golden_.tokens("tokens")), state_(model_.make_cache()) {}

  /// Feeds the next `count` tokens under a fresh profile.
  Recorder feed(std::size_t count, Profile& profile) {
    Recorder recorder(true);
    const SequenceInput input{&state_, std::span(tokens_).subspan(fed_, count), WantLogits::kLast};
    fed_ += count;
    model_.set_profile(&profile);
    model_.forward({&input, 1}, recorder);
    model_.set_profile(nullptr);
    return recorder;
  }

  Golden golden_;
  std::vector<Token> tokens_;
  Model model_ = Model::open(Golden("tiny").dir, {.threads = 2});
  SequenceState state_;
  std::size_t fed_ = 0;
};

TEST_F(Profiled, ADecodeStepReadsEveryTouchedWeightOnceAndItsStatesTwice) {
  Profile unused, step;
  feed(20, unused);
  const Recorder recorder = feed(1, step);
  const ModelArgs& args = model_.args();
  std::map<ModelPart, double> elements = elements_read(args, recorder);
  const StateBytes state(state_, args.num_hidden_layers);
  const double new_rows = state.latents / 21;  // written, then read with the others

  EXPECT_EQ(step[ModelPart::kProjections].bytes, kF32 * elements[ModelPart::kProjections]);
  EXPECT_EQ(step[ModelPart::kExperts].bytes, kF32 * elements[ModelPart::kExperts]);
  EXPECT_EQ(step[ModelPart::kRouter].bytes, kF32 * elements[ModelPart::kRouter]);
  EXPECT_EQ(step[ModelPart::kHead].bytes, kF32 * elements[ModelPart::kHead]);
  EXPECT_EQ(step[ModelPart::kKda].bytes, 2 * state.kda);
  EXPECT_EQ(step[ModelPart::kMla].bytes, kF32 * elements[ModelPart::kMla] + state.latents + new_rows);
  EXPECT_EQ(step[ModelPart::kRest].bytes, kF32 * args.hidden_size) << "one row of the embedding";
}

TEST_F(Profiled, AChunkReadsEachExpertOnceAndMultipliesForEveryToken) {
  Profile chunk;
  const Recorder recorder = feed(20, chunk);
  const ModelArgs& args = model_.args();
  std::map<ModelPart, double> elements = elements_read(args, recorder);
  EXPECT_EQ(chunk[ModelPart::kProjections].bytes, kF32 * elements[ModelPart::kProjections]);
  EXPECT_EQ(chunk[ModelPart::kProjections].ops[Fma()], 2 * 20 * elements[ModelPart::kProjections]);
  EXPECT_EQ(chunk[ModelPart::kExperts].bytes, kF32 * elements[ModelPart::kExperts]);
  EXPECT_EQ(chunk[ModelPart::kHead].ops[Fma()], 2 * elements[ModelPart::kHead]) << "logits of the last token only";

  // Per token the dense layer, and in every other layer A experts and the shared one.
  const double D = args.hidden_size, F = args.moe_intermediate_size, layers = args.num_hidden_layers - 1;
  const double per_token = 3 * D * (args.intermediate_size + layers * F * (args.num_experts_per_token + 1));
  EXPECT_EQ(chunk[ModelPart::kExperts].ops[Fma()], 2 * 20 * per_token);
}

TEST_F(Profiled, BothFormsOfMlaCountWhatTheyDo) {
  const ModelArgs& args = model_.args();
  const double H = args.num_attention_heads, R = args.kv_lora_rank, P = args.qk_rope_head_dim;
  const double N = args.qk_nope_head_dim, V = args.v_head_dim, T = 20, pairs = T * (T + 1) / 2;
  const double matrices = H * R * (N + V);  // of one layer; the model has one MLA layer
  for (const MlaForm form : {MlaForm::kAbsorbed, MlaForm::kExpanded}) {
    model_ = Model::open(golden_.dir, {.threads = 2, .mla_form = form});
    state_ = model_.make_cache();
    fed_ = 0;
    Profile chunk;
    feed(20, chunk);
    const double per_pair = form == MlaForm::kAbsorbed ? 2 * R + P : N + P + V;
    EXPECT_EQ(chunk[ModelPart::kMla].ops[Fma()], 2 * T * matrices + 2 * pairs * H * per_pair);
    EXPECT_EQ(chunk[ModelPart::kMla].bytes, kF32 * (matrices + 2 * T * (R + P)));
  }
}

TEST_F(Profiled, PassesAddUpAndTimeIsThatOfTheCall) {
  Profile one;
  const auto start = std::chrono::steady_clock::now();
  feed(20, one);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_GT(one.total().seconds, 0);
  EXPECT_LE(one.total().seconds, seconds);
  for (const Cost& part : one.parts) EXPECT_GT(part.seconds, 0);
  const Profile before = one;
  feed(1, one);
  EXPECT_GT(one[ModelPart::kHead].bytes, before[ModelPart::kHead].bytes);
  EXPECT_GT(one[ModelPart::kHead].seconds, before[ModelPart::kHead].seconds);
}

TEST_F(Profiled, CountingChangesNoBitAndEndsWhenToldTo) {
  Profile profile;
  const Recorder with = feed(30, profile);
  const double bytes = profile.total().bytes;
  SequenceState other = model_.make_cache();
  EXPECT_EQ(model_.forward(other, std::span(tokens_).first(30)), with.logits.begin()->second);
  EXPECT_EQ(profile.total().bytes, bytes);
}

TEST_F(Profiled, RegionsOnlyComputesNothingButGoesThroughAllLayers) {
  Profile unused, regions{.regions_only = true};
  feed(10, unused);
  const std::vector<float> before = state_.kda_state(0);
  const Recorder recorder = feed(12, regions);
  EXPECT_EQ(state_.kda_state(0), before);
  EXPECT_EQ(state_.num_tokens(), 22);
  for (const Cost& part : regions.parts) EXPECT_GT(part.seconds, 0);

  // The choice is spread over the experts as a router's would be: 12 tokens of 2 reach all 8.
  std::set<std::int32_t> chosen;
  for (const auto& [key, ids] : recorder.router_ids.at(1)) chosen.insert(ids.begin(), ids.end());
  EXPECT_EQ(chosen.size(), 8u);
}

TEST_F(Profiled, AStateCanBeMadeToLookLonger) {
  Profile unused;
  feed(5, unused);
  const std::vector<float> kda = state_.kda_state(0), latent = state_.mla_latent(3), k_pe = state_.mla_k_pe(3);
  state_.repeat_to(301);
  EXPECT_EQ(state_.num_tokens(), 301);
  EXPECT_EQ(state_.kda_state(0), kda);
  for (const auto& [rows, period] : {std::pair{state_.mla_latent(3), latent}, {state_.mla_k_pe(3), k_pe}}) {
    ASSERT_EQ(rows.size(), period.size() / 5 * 301);
    for (std::size_t i = 0; i < rows.size(); ++i) ASSERT_EQ(rows[i], period[i % period.size()]);
  }
  Profile step;
  feed(1, step);
  EXPECT_EQ(state_.num_tokens(), 302);

  EXPECT_TRUE(error_of([&] { state_.repeat_to(301); }).mentions("expected a state of 1 to 301 tokens, got one of 302"));
  SequenceState empty = model_.make_cache(), none;
  EXPECT_TRUE(error_of([&] { empty.repeat_to(7); }).mentions("expected a state of 1 to 7 tokens, got one of 0"));
  EXPECT_TRUE(error_of([&] { none.repeat_to(7); }).thrown);
  EXPECT_EQ(empty.num_tokens(), 0);
}

}  // namespace
}  // namespace kl::test
