#include "kl/synth.h"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "kl/inspect.h"
#include "tests/support/error_of.h"
#include "tests/support/tensor_file.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

TEST(Synthesize, WritesAFolderThatInspectsClean) {
  for (const char* dtype : {"bf16", "f16", "f32"}) {
    SCOPED_TRACE(dtype);
    const TempDir dir;
    SynthOptions options;
    options.dtype = dtype;
    const SynthResult result = synthesize(ModelArgs::like("tiny"), dir / "out", options);
    const ModelReport report = inspect(dir / "out");
    EXPECT_TRUE(report.problems.empty()) << report.problems.front();
    EXPECT_EQ(report.file_parameters, result.parameters);
    EXPECT_EQ(report.file_parameters, report.config_parameters);
    EXPECT_EQ(report.tensor_bytes, result.tensor_bytes);
    ModelArgs args = *report.args;
    args.dtype = ModelArgs::like("tiny").dtype;
    EXPECT_EQ(args, ModelArgs::like("tiny"));
    EXPECT_TRUE(fs::exists(dir / "out" / fs::path("generation_config.json").string()));
  }
}

TEST(Synthesize, SameSeedSameBytesHoweverTheFilesAreCut) {
  const TempDir dir;
  SynthOptions options;
  options.seed = 7;
  synthesize(ModelArgs::like("tiny"), dir / "one", options);
  options.max_shard_bytes = 100'000;
  const SynthResult cut = synthesize(ModelArgs::like("tiny"), dir / "many", options);
  EXPECT_GT(cut.files, 3);
  options.seed = 8;
  synthesize(ModelArgs::like("tiny"), dir / "other", options);

  TestTensors many;
  for (const auto& entry : fs::directory_iterator(dir / "many")) {
    if (entry.path().extension() == ".safetensors") many.merge(read_tensors(entry.path()));
  }
  const TestTensors one = read_tensors(dir.path() / "one" / "model.safetensors");
  ASSERT_EQ(many.size(), one.size());
  for (const auto& [name, tensor] : one) EXPECT_TRUE(many.at(name).bytes == tensor.bytes) << name;
  EXPECT_TRUE(inspect(dir / "many").problems.empty());
  EXPECT_EQ(inspect(dir / "many").files.size(), static_cast<std::size_t>(cut.files));
}

TEST(Synthesize, ValuesAreSpreadAsPromised) {
  const TempDir dir;
  ModelArgs args = ModelArgs::like("tiny");
  args.hidden_size = 512;
  SynthOptions options;
  options.dtype = "f32";
  synthesize(args, dir / "out", options);
  const SafetensorsFile file(dir.path() / "out" / "model.safetensors");
  const auto moments = [&](const std::string& name) {
    const std::vector<double> x = file.numbers(name);
    double mean = 0, square = 0, low = x[0], high = x[0];
    for (const double value : x) {
      mean += value / static_cast<double>(x.size());
      square += value * value / static_cast<double>(x.size());
      low = std::min(low, value);
      high = std::max(high, value);
    }
    return std::array<double, 4>{mean, std::sqrt(square), low, high};
  };
  const double fan_in = 1 / std::sqrt(512.0);
  const auto q = moments("model.layers.0.self_attn.q_proj.weight");
  EXPECT_NEAR(q[0], 0, 0.03 * fan_in);
  EXPECT_NEAR(q[1], fan_in, 0.02 * fan_in);
  EXPECT_LT(q[3], 3.5 * fan_in);
  EXPECT_NEAR(moments("model.layers.0.self_attn.o_proj.weight")[1], 0.125 / std::sqrt(8.0), 0.001);
  EXPECT_NEAR(moments("model.embed_tokens.weight")[1], 1.0, 0.01);
  const auto norm = moments("model.norm.weight");
  EXPECT_GE(norm[2], 0.9);
  EXPECT_LE(norm[3], 1.1);
  const auto A_log = moments("model.layers.0.self_attn.A_log");
  EXPECT_GE(A_log[2], 0.0);
  EXPECT_LE(A_log[3], std::log(16.0));
  for (const double bias : file.numbers("model.layers.0.self_attn.dt_bias")) {
    const double dt = std::log1p(std::exp(bias));
    EXPECT_GE(dt, 0.999e-3);
    EXPECT_LE(dt, 1.001e-1);
  }
}

TEST(Synthesize, HalfPrecisionHoldsTheRoundedValues) {
  const TempDir dir;
  SynthOptions options;
  options.dtype = "f32";
  synthesize(ModelArgs::like("tiny"), dir / "f32", options);
  options.dtype = "f16";
  synthesize(ModelArgs::like("tiny"), dir / "f16", options);
  const SafetensorsFile exact(dir.path() / "f32" / "model.safetensors"),
      rounded(dir.path() / "f16" / "model.safetensors");
  for (const auto& [name, tensor] : rounded.tensors()) {
    const std::vector<double> x = exact.numbers(name), y = rounded.numbers(name);
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], y[i], std::abs(x[i]) * 0x1p-11 + 0x1p-25) << name;
  }
}

TEST(Synthesize, TakesEveryMixOfLayers) {
  const TempDir dir;
  int n = 0;
  const auto expect_sound = [&](const ModelArgs& args) {
    const fs::path out = dir / std::to_string(n++);
    synthesize(args, out);
    const ModelReport report = inspect(out);
    EXPECT_TRUE(report.problems.empty()) << report.problems.front();
    EXPECT_EQ(report.file_parameters, report.config_parameters);
  };
  ModelArgs args = ModelArgs::like("tiny");
  args.tie_word_embeddings = true;
  expect_sound(args);
  args.layer_kinds.assign(4, LayerKind::kKda);
  expect_sound(args);
  args.layer_kinds.assign(4, LayerKind::kMla);
  args.num_experts = 0;
  expect_sound(args);
  args = ModelArgs::like("tiny");
  args.num_shared_experts = 0;
  args.qk_rope_head_dim = 0;
  args.feed_forward_kinds = {FeedForwardKind::kMoe, FeedForwardKind::kDense, FeedForwardKind::kDense,
                             FeedForwardKind::kMoe};
  expect_sound(args);
  args.kda_conv_size = 1;
  args.first_k_dense_replace = 0;
  args.feed_forward_kinds.clear();
  expect_sound(args);
}

TEST(Synthesize, CopiesTheTokenizer) {
  const TempDir dir;
  put_bytes(dir / "vocabulary", "IQ== 0\n");
  SynthOptions options;
  options.tokenizer = dir / "vocabulary";
  synthesize(ModelArgs::like("tiny"), dir / "out", options);
  EXPECT_EQ(get_bytes(dir.path() / "out" / "tiktoken.model"), "IQ== 0\n");
}

TEST(Synthesize, LeavesNothingBehindWhenItFails) {
  const TempDir dir;
  SynthOptions options;
  options.max_shard_bytes = 100'000;
  int calls = 0;
  options.progress = [&](std::string_view, std::int64_t, std::int64_t) {
    if (++calls == 1) throw std::runtime_error("stop");
  };
  EXPECT_THROW(synthesize(ModelArgs::like("tiny"), dir / "out", options), std::runtime_error);
  EXPECT_FALSE(fs::exists(dir / "out"));
  calls = 0;
  EXPECT_THROW(synthesize(ModelArgs::like("tiny"), dir / "a/b/c/", options), std::runtime_error);
  EXPECT_FALSE(fs::exists(dir / "a")) << "folders made on the way";
  EXPECT_THROW(synthesize(ModelArgs::like("tiny"), dir / "a/b" / std::string(300, 'c')), Error);
  EXPECT_FALSE(fs::exists(dir / "a"));

  fs::create_directory(dir / "empty");
  calls = 0;
  EXPECT_THROW(synthesize(ModelArgs::like("tiny"), dir / "empty", options), std::runtime_error);
  EXPECT_TRUE(fs::is_empty(dir / "empty"));
}

TEST(Synthesize, RefusesWhatItCannotDo) {
  const TempDir dir;
  SynthOptions options;
  options.dtype = "int4";
  EXPECT_EQ(error_of([&] { synthesize(ModelArgs::like("tiny"), dir / "out", options); }).code,
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of([] { ModelArgs::like("7b"); }).code, ErrorCode::kInvalidArgument);
  options = {};
  options.tokenizer = dir / "nowhere";
  EXPECT_EQ(error_of([&] { synthesize(ModelArgs::like("tiny"), dir / "out", options); }).code, ErrorCode::kNotFound);
  EXPECT_FALSE(fs::exists(dir / "out"));
  put_bytes(dir / "file", "x");
  const ErrorSeen used = error_of([&] { synthesize(ModelArgs::like("tiny"), dir.path()); });
  EXPECT_EQ(used.code, ErrorCode::kCannotWrite);
  EXPECT_TRUE(used.mentions("expected a new or empty folder")) << used.message;
  EXPECT_EQ(error_of([&] { synthesize(ModelArgs::like("tiny"), dir / "file"); }).code, ErrorCode::kCannotWrite);
  EXPECT_EQ(error_of([&] { synthesize(ModelArgs::like("tiny"), "/proc/no/such"); }).code, ErrorCode::kCannotWrite);
  ModelArgs huge = ModelArgs::like("48b");
  huge.num_hidden_layers = 4000;
  huge.layer_kinds.assign(4000, LayerKind::kKda);
  huge.num_experts = 0;
  const ErrorSeen full = error_of([&] { synthesize(huge, dir / "huge"); });
  EXPECT_EQ(full.code, ErrorCode::kCannotWrite);
  EXPECT_TRUE(full.mentions("bytes of free space")) << full.message;
  EXPECT_FALSE(fs::exists(dir / "huge"));
}

}  // namespace
}  // namespace kl
