// GGUF metadata as a configuration, GGUF tensors as weights, and what is wrong with either.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "config/gguf_config.h"
#include "config/quantization_config.h"
#include "encodings/ggml.h"
#include "gguf/ggml_type.h"
#include "kernels/select.h"
#include "packing/repack.h"
#include "tests/support/encoded.h"
#include "tests/support/error_of.h"
#include "tests/support/gguf_model.h"
#include "tests/support/temp_dir.h"
#include "weights/sanitize.h"

namespace kl::test {
namespace {

ModelArgs small_args() {
  ModelArgs args = ModelArgs::like("tiny");
  args.vocab_size = 260;
  args.bos_token_id = 257;
  args.eos_token_ids = {256};
  args.pad_token_id = -1;
  args.dtype.clear();
  return args;
}

const GgufBytes& sound() {
  static const GgufBytes kFile = gguf_model(small_args());
  return kFile;
}

TEST(GgufModel, MetadataGiveTheArgumentsOfTheConfiguration) {
  const std::string bytes = sound().bytes();
  EXPECT_EQ(gguf_model_args(*GgufFile::parse(bytes, "x")).to_json(), small_args().to_json());
}

TEST(GgufModel, OldKeysAndPlainNumbersAreUnderstood) {
  GgufBytes file = sound();
  const ModelArgs a = small_args();
  file.drop("kimi-linear.attention.key_length_mla").drop("kimi-linear.attention.value_length_mla");
  file.drop("kimi-linear.vocab_size").set("kimi-linear.expert_gating_func", u8(1));
  file.set("kimi-linear.attention.key_length",
           u64(static_cast<std::uint64_t>(a.qk_nope_head_dim + a.qk_rope_head_dim)));
  file.set("kimi-linear.attention.value_length", u32(static_cast<std::uint32_t>(a.v_head_dim)));
  file.set("kimi-linear.attention.head_count_kv", u32(1)).set("kimi-linear.expert_weights_norm", boolean(0));
  file.set("kimi-linear.something.else", u32(3));
  const std::string bytes = file.bytes();
  const ModelArgs args = gguf_model_args(*GgufFile::parse(bytes, "x"));
  EXPECT_EQ(args.num_layers_of(LayerKind::kMla), a.num_hidden_layers);
  EXPECT_EQ(args.qk_nope_head_dim, a.qk_nope_head_dim);
  EXPECT_EQ(args.vocab_size, 260);
  EXPECT_EQ(args.router_activation, RouterActivation::kSoftmax);
  EXPECT_FALSE(args.moe_renormalize);
  EXPECT_EQ(args.unknown_keys, std::vector<std::string>{"kimi-linear.something.else"});
}

TEST(GgufModel, TensorsAreBoundWhereTheyLie) {
  const TempDir dir;
  put_bytes(dir / "m.gguf", sound().bytes());
  const ModelArgs args = ModelArgs::load(dir / "m.gguf");
  const ModelWeights weights = bind_weights(args, Checkpoint::open(dir / "m.gguf"));
  const auto& kda = std::get<KdaWeights>(weights.layers[0].attention);
  GgufBytes file = sound();
  float first = 0, log = 0;
  std::memcpy(&first, file.tensor("blk.0.attn_q.weight").data.data(), 4);
  std::memcpy(&log, file.tensor("blk.0.ssm_a").data.data(), 4);
  EXPECT_EQ(*static_cast<const float*>(kda.q_proj.data), first);
  EXPECT_FLOAT_EQ(kda.A_log[0], std::log(-log));
  EXPECT_GT(weights.mapped_bytes, 10 * weights.copied_bytes);
}

struct BrokenCase {
  const char* name;
  std::function<void(GgufBytes&)> breaks;
  std::vector<std::string> parts;  // of the message
  ErrorCode code = ErrorCode::kCorrupt;
};

/// Sets or drops one key under "kimi-linear.".
std::function<void(GgufBytes&)> with(const char* key, const std::string& value) {
  return [=](GgufBytes& file) { file.set(std::string("kimi-linear.") + key, value); };
}
std::function<void(GgufBytes&)> without(const char* key) {
  return [=](GgufBytes& file) { file.drop(std::string("kimi-linear.") + key); };
}

const std::vector<BrokenCase>& broken_cases() {
  constexpr auto kUnsupported = ErrorCode::kUnsupported;
  const float nan = NAN;
  static const std::vector<BrokenCase> kCases = {
      {"no architecture", [](auto& f) { f.drop("general.architecture"); }, {"general.architecture: missing"}},
      {"another architecture",
       [](auto& f) { f.set("general.architecture", text("llama")); },
       {"general.architecture: expected \"kimi-linear\", got \"llama\""},
       kUnsupported},
      {"architecture is a number",
       [](auto& f) { f.set("general.architecture", u32(1)); },
       {"general.architecture"},
       kUnsupported},
      {"no layers stated", without("block_count"), {"kimi-linear.block_count: missing"}},
      {"no width", without("embedding_length"), {"kimi-linear.embedding_length: missing"}},
      {"no heads", without("attention.head_count"), {"kimi-linear.attention.head_count: missing"}},
      {"no epsilon",
       without("attention.layer_norm_rms_epsilon"),
       {"kimi-linear.attention.layer_norm_rms_epsilon: missing"}},
      {"no layer kinds", without("attention.head_count_kv"), {"kimi-linear.attention.head_count_kv: missing"}},
      {"no latent", without("attention.kv_lora_rank"), {"kv_lora_rank: missing"}},
      {"no key length", without("attention.key_length_mla"), {"qk_nope_head_dim: missing"}},
      {"no value length", without("attention.value_length_mla"), {"v_head_dim: missing"}},
      {"no KDA head", without("kda.head_dim"), {"head_dim"}},
      {"no expert width", without("expert_feed_forward_length"), {"moe_intermediate_size: missing"}},
      {"no dense width", without("feed_forward_length"), {"intermediate_size: missing"}},
      {"layers as text", with("block_count", text("4")), {"kimi-linear.block_count: expected a number, got \"4\""}},
      {"layers as a list",
       with("block_count", i32s({4})),
       {"kimi-linear.block_count: expected a number, got an array of 1 i32"}},
      {"0 layers", with("block_count", u32(0)), {"head_count_kv: expected 0 entries, one a layer, got 4"}},
      {"2^32 - 1 layers", with("block_count", u32(~0u)), {"head_count_kv: expected 4294967295 entries"}},
      {"absurd layers, one kind",
       [](auto& f) { f.set("kimi-linear.block_count", u32(~0u)).set("kimi-linear.attention.head_count_kv", u32(0)); },
       {"head_count_kv: expected integers, one a layer"}},
      {"width 2^40", with("embedding_length", u64(1ull << 40)), {"hidden_size"}},
      {"width 2^64 - 1", with("embedding_length", u64(~0ull)), {"embedding_length"}},
      {"negative width", with("embedding_length", i32(-64)), {"hidden_size"}},
      {"epsilon is no number",
       with("attention.layer_norm_rms_epsilon", f32(nan)),
       {"layer_norm_rms_epsilon: expected a number, got nan"}},
      {"layer kinds too few",
       with("attention.head_count_kv", i32s({0, 0, 1})),
       {"head_count_kv: expected 4 entries, one a layer, got 3"}},
      {"layer kinds negative",
       with("attention.head_count_kv", i32s({0, -1, 0, 1})),
       {"head_count_kv: expected numbers from 0, got -1"}},
      {"layer kinds as texts",
       with("attention.head_count_kv", texts({"0", "0", "0", "1"})),
       {"head_count_kv: expected integers"}},
      {"keys no longer than their rope part",
       with("attention.key_length_mla", u32(1)),
       {"key_length_mla: expected more than"}},
      {"rope part negative", with("rope.dimension_count", i32(-1)), {"key_length_mla"}},
      {"gating 0",
       with("expert_gating_func", u32(0)),
       {"expert_gating_func: expected 1 (softmax) or 2 (sigmoid), got 0"},
       kUnsupported},
      {"gating 3", with("expert_gating_func", u32(3)), {"expert_gating_func"}, kUnsupported},
      {"groups without number", with("expert_group_used_count", u32(2)), {"expert_group_count: missing"}},
      {"more experts used than there are", with("expert_used_count", u32(1000)), {"num_experts_per_token"}},
      {"prediction heads", with("nextn_predict_layers", u32(1)), {"nextn_predict_layers"}, kUnsupported},
      {"bounded gate", with("kda.gate_lower_bound", f32(-5)), {"bounds the decay"}, kUnsupported},
      {"low-rank queries", with("attention.q_lora_rank", u32(8)), {"splits the query projection"}, kUnsupported},
      {"a tensor missing",
       [](auto& f) { std::erase_if(f.tensors, [](auto& t) { return t.name == "blk.1.attn_k.weight"; }); },
       {"blk.1.attn_k.weight: missing, expected [64, 64]"}},
      {"no output",
       [](auto& f) { std::erase_if(f.tensors, [](auto& t) { return t.name == "output.weight"; }); },
       {"output.weight: missing"}},
      {"a tensor nobody knows",
       [](auto& f) {
         f.tensor("blk.0.rope_freqs").dims = {1};
         f.tensor("blk.0.rope_freqs").data = "1234";
       },
       {"blk.0.rope_freqs: unexpected F32 [1]"}},
      {"a layer too many",
       [](auto& f) {
         const auto extra = f.tensor("blk.0.attn_norm.weight");
         f.tensors.push_back(extra);
         f.tensors.back().name = "blk.4.attn_norm.weight";
       },
       {"blk.4.attn_norm.weight: unexpected"}},
      {"dimensions swapped",
       [](auto& f) { std::swap(f.tensor("blk.0.ssm_f_a.weight").dims[0], f.tensor("blk.0.ssm_f_a.weight").dims[1]); },
       {"blk.0.ssm_f_a.weight: expected [32, 64], got [64, 32]"}},
      {"experts swapped",
       [](auto& f) {
         std::swap(f.tensor("blk.1.ffn_up_exps.weight").dims[0], f.tensor("blk.1.ffn_up_exps.weight").dims[2]);
       },
       {"blk.1.ffn_up_exps.weight: expected [8, 32, 64], got"}},
      {"ssm_a above 0",
       [](auto& f) { f.tensor("blk.0.ssm_a").data = le(-1.0f) + le(0.5f); },
       {"blk.0.ssm_a: expected finite numbers below 0", "got 0.5"}},
      {"ssm_a not finite",
       [](auto& f) { f.tensor("blk.0.ssm_a").data = le(-INFINITY) + le(-1.0f); },
       {"blk.0.ssm_a", "got -inf"}},
      {"a norm as integers",
       [](auto& f) { f.tensor("output_norm.weight").type = 26; },
       {"output_norm.weight: expected F32, F16 or BF16, got I32"},
       kUnsupported},
      {"blocks kl does not read",
       [](auto& f) {
         auto& t = f.tensor("blk.0.attn_q.weight");
         t.type = 40;  // NVFP4
         t.data.resize(64 * 36);
       },
       {"blk.0.attn_q.weight: expected a type of block that kl reads, got NVFP4"},
       kUnsupported},
      {"blocks of the wrong shape",
       [](auto& f) {
         auto& t = f.tensor("blk.0.ssm_f_a.weight");
         t.type = 8;
         t.dims = {32, 64};
         t.data.assign(64 * 34, '\0');
       },
       {"blk.0.ssm_f_a.weight: expected [32, 64], got [64, 32]"}},
      {"weights that are no numbers",
       [](auto& f) {
         auto& t = f.tensor("blk.0.attn_q.weight");
         t.type = 8;
         t.data.assign(64 * 2 * 34, '\x7e');  // f16 0x7e7e is NaN
       },
       {"blk.0.attn_q.weight: expected finite weights"}},
      {"a quantised convolution",
       [](auto& f) {
         auto& t = f.tensor("blk.0.ssm_conv1d_q.weight");
         t.type = 24;
         t.data.resize(t.data.size() / 4);
       },
       {"blk.0.ssm_conv1d_q.weight: expected F32, F16 or BF16, got I8"},
       kUnsupported},
  };
  return kCases;
}

TEST(GgufModel, BrokenModelsAreRefusedByFileKeyAndRule) {
  const TempDir dir;
  for (const BrokenCase& broken : broken_cases()) {
    SCOPED_TRACE(broken.name);
    GgufBytes file = sound();
    broken.breaks(file);
    put_bytes(dir / "m.gguf", file.bytes());
    const ErrorSeen seen = error_of([&] {
      const ModelArgs args = ModelArgs::load(dir / "m.gguf");
      bind_weights(args, Checkpoint::open(dir / "m.gguf"), load_encoding(dir / "m.gguf").get());
    });
    EXPECT_TRUE(seen.thrown);
    EXPECT_EQ(seen.code, broken.code) << seen.message;
    EXPECT_TRUE(seen.mentions((dir / "m.gguf").string())) << seen.message;
    for (const std::string& part : broken.parts)
      EXPECT_TRUE(seen.mentions(part)) << part << " is not in: " << seen.message;
  }
}

/// What is held in memory is what the decoder gives; only zeros may change their sign.
TEST(GgufModel, BlocksAreHeldExactly) {
  const SafetensorsFile blocks(std::string(KL_SOURCE_DIR) + "/tests/golden/gguf/blocks.safetensors");
  const GgmlEncoding encoding;
  int packed = 0;
  for (const auto& [name, tensor] : blocks.tensors()) {
    const std::string type = name.substr(0, name.find('.'));
    if (!name.ends_with(".blocks") || find_ggml_type(type)->values == 1) continue;
    SCOPED_TRACE(type);
    const std::int64_t rows = 3, cols = 256;
    MemoryTensors source;
    source.put("m.weight", {type, {rows, cols}, std::string(reinterpret_cast<const char*>(tensor.data), tensor.bytes)});
    const StoredModule found = encoding.find("m", {rows, cols}, source);
    ASSERT_TRUE(found.matrix);
    packed += found.matrix->held_as().type == DType::kPacked && found.matrix->held_as().format.exists();
    Repacking repacking(false);
    const WeightMatrix held = repacking.add(found.matrix, {0, rows, false}, "m");
    ASSERT_TRUE(repacking.run().empty());
    for (const Kernels* kernels : available_kernels()) {
      for (std::int64_t row = 0; row < rows; ++row) {
        std::vector<float> expected(cols), got(cols);
        found.matrix->decode_row(row, expected.data());
        kernels->weight_row(held, row, got.data());
        ASSERT_EQ(got, expected) << kernels->isa << ", row " << row;
      }
    }
  }
  EXPECT_EQ(packed, 13) << "every type of blocks";
}

}  // namespace
}  // namespace kl::test
