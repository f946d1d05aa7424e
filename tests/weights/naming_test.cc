// Whatever a file calls and however it stacks the tensors, the model gets the same bits.
#include <gtest/gtest.h>

#include <cstring>

#include "base/dtype.h"
#include "tests/support/error_of.h"
#include "tests/support/tensor_file.h"
#include "weights/sanitize.h"

namespace kl {
namespace {

std::string oracle(const std::string& name) { return std::string(KL_SOURCE_DIR) + "/tests/golden/oracle/" + name; }

// --- comparison
// ---------------------------------------------------------------------------------------------------------

/// Every weight of a model as bytes, in one fixed order.
class Flattened {
 public:
  explicit Flattened(const ModelArgs& args, const ModelWeights& w) {
    const std::int64_t D = args.hidden_size;
    matrix("embed_tokens", w.embed_tokens);
    for (std::size_t i = 0; i < w.layers.size(); ++i) layer(std::to_string(i) + ".", args, w.layers[i]);
    vector("norm", w.norm, D);
    matrix("lm_head", w.lm_head);
  }
  const std::map<std::string, std::string>& parts() const { return parts_; }

 private:
  void matrix(const std::string& name, const WeightMatrix& m) {
    std::string& bytes = parts_[name];
    bytes = std::string(name_of(m.type)) + " " + std::to_string(m.N) + "x" + std::to_string(m.K) + " ";
    const std::size_t size = size_of(m.type);
    for (std::ptrdiff_t n = 0; n < m.N; ++n) {
      bytes.append(static_cast<const char*>(m.data) + static_cast<std::size_t>(n * m.stride) * size,
                   static_cast<std::size_t>(m.K) * size);
    }
  }
  void vector(const std::string& name, const float* v, std::int64_t n) {
    parts_[name].assign(reinterpret_cast<const char*>(v), static_cast<std::size_t>(n) * sizeof(float));
  }
  void mlp(const std::string& name, const MlpWeights& w) {
    matrix(name + "gate", w.gate_proj);
    matrix(name + "up", w.up_proj);
    matrix(name + "down", w.down_proj);
  }
  void layer(const std::string& name, const ModelArgs& args, const LayerWeights& w) {
    const std::int64_t D = args.hidden_size, C = args.kda_num_heads * args.kda_head_dim;
    vector(name + "input_norm", w.input_norm, D);
    vector(name + "post_attention_norm", w.post_attention_norm, D);
    if (const auto* kda = std::get_if<KdaWeights>(&w.attention)) {
      const std::vector<const WeightMatrix*> matrices{&kda->q_proj,   &kda->k_proj,   &kda->v_proj,
                                                      &kda->f_a_proj, &kda->f_b_proj, &kda->b_proj,
                                                      &kda->g_a_proj, &kda->g_b_proj, &kda->o_proj};
      for (std::size_t m = 0; m < matrices.size(); ++m) matrix(name + "kda." + std::to_string(m), *matrices[m]);
      vector(name + "q_conv", kda->q_conv, C * args.kda_conv_size);
      vector(name + "k_conv", kda->k_conv, C * args.kda_conv_size);
      vector(name + "v_conv", kda->v_conv, C * args.kda_conv_size);
      vector(name + "A_log", kda->A_log, args.kda_num_heads);
      vector(name + "dt_bias", kda->dt_bias, C);
      vector(name + "o_norm", kda->o_norm, args.kda_head_dim);
    } else {
      const auto& mla = std::get<MlaWeights>(w.attention);
      matrix(name + "mla.q_proj", mla.q_proj);
      matrix(name + "mla.kv_a_proj", mla.kv_a_proj);
      vector(name + "mla.kv_a_norm", mla.kv_a_norm, args.kv_lora_rank);
      for (std::size_t h = 0; h < mla.w_uk.size(); ++h) {
        matrix(name + "mla.w_uk." + std::to_string(h), mla.w_uk[h]);
        matrix(name + "mla.w_uv." + std::to_string(h), mla.w_uv[h]);
      }
      matrix(name + "mla.o_proj", mla.o_proj);
    }
    if (const auto* dense = std::get_if<MlpWeights>(&w.feed_forward)) {
      mlp(name + "mlp.", *dense);
    } else {
      const auto& moe = std::get<MoeWeights>(w.feed_forward);
      matrix(name + "router", moe.router);
      vector(name + "correction_bias", moe.correction_bias, args.num_experts);
      for (std::size_t e = 0; e < moe.experts.size(); ++e)
        mlp(name + "expert." + std::to_string(e) + ".", moe.experts[e]);
      if (moe.shared) mlp(name + "shared.", *moe.shared);
    }
  }

  std::map<std::string, std::string> parts_;
};

void expect_same(const Flattened& expected, const Flattened& got) {
  ASSERT_EQ(expected.parts().size(), got.parts().size());
  for (const auto& [name, bytes] : expected.parts()) {
    ASSERT_EQ(got.parts().count(name), 1u) << name;
    EXPECT_TRUE(got.parts().at(name) == bytes) << name << " differs";
  }
}

Flattened load(const std::filesystem::path& dir) {
  const ModelArgs args = ModelArgs::load(dir);
  return Flattened(args, bind_weights(args, Checkpoint::open(dir)));
}

/// Binds `tensors` under the configuration of the checkpoint `like`.
Flattened load(const TestTensors& tensors, const std::string& like) {
  const TempDir dir;
  write_tensors(dir / "model.safetensors", tensors);
  const ModelArgs args = ModelArgs::load(oracle(like));
  return Flattened(args, bind_weights(args, Checkpoint::open(dir.path())));
}

// --- the ways files are written
// -----------------------------------------------------------------------------------------

void rename(TestTensors& tensors, const std::string& from, const std::string& to) {
  auto node = tensors.extract(from);
  ASSERT_TRUE(node) << from;
  node.key() = to;
  tensors.insert(std::move(node));
}

/// Replaces `from` by `to` in all names that contain it.
void rename_all(TestTensors& tensors, const std::string& from, const std::string& to) {
  TestTensors renamed;
  for (auto& [name, tensor] : tensors) {
    std::string out = name;
    if (const std::size_t at = out.find(from); at != out.npos) out.replace(at, from.size(), to);
    renamed[out] = std::move(tensor);
  }
  tensors = std::move(renamed);
}

/// Joins tensors one after the other.
TestTensor join(TestTensors& tensors, const std::vector<std::string>& names, std::vector<std::int64_t> shape) {
  TestTensor out{tensors.at(names.front()).dtype, std::move(shape), {}};
  for (const std::string& name : names) {
    out.bytes += tensors.at(name).bytes;
    tensors.erase(name);
  }
  return out;
}

struct Layers {
  std::vector<int> kda, mla, moe;
};

Layers layers_of(const ModelArgs& args) {
  Layers layers;
  for (int i = 0; i < args.num_hidden_layers; ++i) {
    (args.is_kda(i) ? layers.kda : layers.mla).push_back(i);
    if (args.is_moe(i)) layers.moe.push_back(i);
  }
  return layers;
}

std::string in_layer(int layer, const std::string& name) {
  return "model.layers." + std::to_string(layer) + "." + name;
}

TestTensors as_mlx_old(TestTensors t, const ModelArgs& a) {
  const Layers layers = layers_of(a);
  const std::int64_t C = a.kda_num_heads * a.kda_head_dim, W = a.kda_conv_size, E = a.num_experts;
  const std::int64_t F = a.moe_intermediate_size, D = a.hidden_size;
  for (const int i : layers.kda) {
    for (const char* stream : {"q", "k", "v"}) {
      const std::string to = in_layer(i, std::string("self_attn.") + stream + "_conv.conv.weight");
      rename(t, in_layer(i, std::string("self_attn.") + stream + "_conv1d.weight"), to);
      t[to].shape = {C, W, 1};
    }
  }
  for (const int i : layers.moe) {
    const std::pair<const char*, const char*> projections[] = {
        {"w1", "gate_proj"}, {"w3", "up_proj"}, {"w2", "down_proj"}};
    for (const auto& [released, mlx] : projections) {
      std::vector<std::string> names;
      for (int e = 0; e < E; ++e)
        names.push_back(in_layer(i, "block_sparse_moe.experts." + std::to_string(e) + "." + released + ".weight"));
      const bool is_down = std::string(mlx) == "down_proj";
      TestTensor stacked = join(t, names, {E, is_down ? D : F, is_down ? F : D});
      t[in_layer(i, std::string("mlp.switch_mlp.") + mlx + ".weight")] = std::move(stacked);
    }
    rename(t, in_layer(i, "block_sparse_moe.gate.e_score_correction_bias"), in_layer(i, "mlp.e_score_correction_bias"));
  }
  rename_all(t, ".block_sparse_moe.", ".mlp.");
  return t;
}

TestTensors as_mlx(const TestTensors& released, const ModelArgs& a) {
  TestTensors t = as_mlx_old(released, a);
  const auto H = static_cast<std::size_t>(a.num_attention_heads), R = static_cast<std::size_t>(a.kv_lora_rank);
  const auto N = static_cast<std::size_t>(a.qk_nope_head_dim), V = static_cast<std::size_t>(a.v_head_dim);
  for (const int i : layers_of(a).mla) {
    const TestTensor kv = t.at(in_layer(i, "self_attn.kv_b_proj.weight"));
    t.erase(in_layer(i, "self_attn.kv_b_proj.weight"));
    const std::size_t size = kv.dtype == "F32" ? 4 : 2;
    TestTensor embed_q{kv.dtype, {a.num_attention_heads, a.kv_lora_rank, a.qk_nope_head_dim}, {}};
    TestTensor unembed_out{kv.dtype, {a.num_attention_heads, a.v_head_dim, a.kv_lora_rank}, {}};
    const auto element = [&](std::size_t row, std::size_t col) {
      return kv.bytes.substr((row * R + col) * size, size);
    };
    for (std::size_t h = 0; h < H; ++h) {
      for (std::size_t r = 0; r < R; ++r) {
        for (std::size_t n = 0; n < N; ++n) embed_q.bytes += element(h * (N + V) + n, r);
      }
      unembed_out.bytes += kv.bytes.substr((h * (N + V) + N) * R * size, V * R * size);
    }
    t[in_layer(i, "self_attn.embed_q.weight")] = embed_q;
    t[in_layer(i, "self_attn.unembed_out.weight")] = unembed_out;
  }
  return t;
}

TestTensors as_native(TestTensors t, const ModelArgs& a) {
  const Layers layers = layers_of(a);
  const std::int64_t C = a.kda_num_heads * a.kda_head_dim, E = a.num_experts, F = a.moe_intermediate_size,
                     D = a.hidden_size;
  for (const int i : layers.kda) {
    for (const char* name : {"A_log", "dt_bias", "f_a_proj.weight", "f_b_proj.weight"}) {
      rename(t, in_layer(i, std::string("self_attn.") + name),
             in_layer(i, std::string("self_attn.forget_gate.") + name));
    }
    TestTensor conv = join(t,
                           {in_layer(i, "self_attn.q_conv1d.weight"), in_layer(i, "self_attn.k_conv1d.weight"),
                            in_layer(i, "self_attn.v_conv1d.weight")},
                           {3 * C, 1, a.kda_conv_size});
    t[in_layer(i, "self_attn.conv1d.weight")] = std::move(conv);
  }
  for (const int i : layers.moe) {
    std::vector<std::string> gate_up, down;
    for (int e = 0; e < E; ++e) {
      const std::string expert = in_layer(i, "block_sparse_moe.experts." + std::to_string(e) + ".");
      gate_up.push_back(expert + "w1.weight");
      gate_up.push_back(expert + "w3.weight");
      down.push_back(expert + "w2.weight");
    }
    TestTensor gate_up_proj = join(t, gate_up, {E, 2 * F, D}), down_proj = join(t, down, {E, D, F});
    t[in_layer(i, "mlp.experts.gate_up_proj")] = std::move(gate_up_proj);
    t[in_layer(i, "mlp.experts.down_proj")] = std::move(down_proj);
  }
  rename_all(t, ".block_sparse_moe.", ".mlp.");
  return t;
}

// --- claims
// -------------------------------------------------------------------------------------------------------------

class AnyNaming : public testing::TestWithParam<const char*> {
 protected:
  const std::string name_ = GetParam();
  const ModelArgs args_ = ModelArgs::load(oracle(name_));
  const TestTensors released_ = read_tensors(oracle(name_) + "/model.safetensors");
  const Flattened expected_ = load(released_, name_);
};

TEST_P(AnyNaming, MlxGivesTheSameBits) { expect_same(expected_, load(as_mlx(released_, args_), name_)); }
TEST_P(AnyNaming, MlxBeforeAbsorptionGivesTheSameBits) {
  expect_same(expected_, load(as_mlx_old(released_, args_), name_));
}
TEST_P(AnyNaming, TransformersGivesTheSameBits) { expect_same(expected_, load(as_native(released_, args_), name_)); }

TEST_P(AnyNaming, ExpertsUnderMlpGiveTheSameBits) {
  TestTensors t = released_;
  rename_all(t, ".block_sparse_moe.", ".mlp.");
  expect_same(expected_, load(t, name_));
  rename_all(t, ".w1.", ".gate_proj.");
  rename_all(t, ".w3.", ".up_proj.");
  rename_all(t, ".w2.", ".down_proj.");
  expect_same(expected_, load(t, name_));
}

TEST_P(AnyNaming, OtherShapesOfSmallTensorsGiveTheSameBits) {
  const std::int64_t H = args_.kda_num_heads, K = args_.kda_head_dim, C = H * K, W = args_.kda_conv_size;
  const std::vector<std::int64_t> conv_shapes[] = {{C, W}, {C, W, 1}}, a_log_shapes[] = {{H}, {H, 1}};
  for (int choice = 0; choice < 2; ++choice) {
    TestTensors t = released_;
    for (auto& [name, tensor] : t) {
      if (name.find("conv1d") != name.npos) tensor.shape = conv_shapes[choice];
      if (name.find("A_log") != name.npos) tensor.shape = a_log_shapes[choice];
      if (name.find("dt_bias") != name.npos) tensor.shape = {H, K};
    }
    expect_same(expected_, load(t, name_));
  }
}

TEST_P(AnyNaming, UnalignedDataGivesTheSameBits) {
  const TempDir dir;
  write_tensors(dir / "a.safetensors", released_);
  // One space more in the header shifts all data by a byte.
  std::string bytes = get_bytes(dir / "a.safetensors");
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  bytes.insert(8 + length, " ");
  ++length;
  std::memcpy(bytes.data(), &length, 8);
  std::filesystem::remove(dir / "a.safetensors");
  put_bytes(dir / "model.safetensors", bytes);
  const ModelWeights weights = bind_weights(args_, Checkpoint::open(dir.path()));
  EXPECT_EQ(weights.mapped_bytes, 0u);
  expect_same(expected_, Flattened(args_, weights));
}

TEST_P(AnyNaming, LeftoversAreLeftAlone) {
  TestTensors t = released_;
  t["model.mtp.layers.0.weight"] = {"F32", {2}, std::string(8, 'x')};
  t["model.layers.0.self_attn.rotary_emb.inv_freq"] = {"F32", {2}, std::string(8, 'x')};
  t["model.layers.1.block_sparse_moe.shared_experts.empty"] = {"F32", {0, 64}, {}};
  if (args_.tie_word_embeddings) t["lm_head.weight"] = {"F32", {1}, std::string(4, 'x')};
  expect_same(expected_, load(t, name_));
}

INSTANTIATE_TEST_SUITE_P(Oracle, AnyNaming, testing::Values("tiny", "headdims", "grouped", "softmax"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST(Naming, TransformersOwnFileGivesTheSameBits) {
  expect_same(load(oracle("tiny")), load(oracle("tiny-transformers")));
  EXPECT_EQ(detect_naming(*Checkpoint::open(oracle("tiny-transformers"))), Naming::kNative);
}

TEST(Naming, MlxLmsOwnFileGivesTheRoundedBits) {
  TestTensors t = read_tensors(oracle("tiny") + "/model.safetensors");
  for (auto& [name, tensor] : t) {  // what mlx-lm's cast_predicate lets through
    if (name.find("A_log") != name.npos || name.find("dt_bias") != name.npos ||
        name.find("correction_bias") != name.npos)
      continue;
    std::string rounded;
    for (std::size_t i = 0; i < tensor.bytes.size(); i += 4) {
      float value = 0;
      std::memcpy(&value, tensor.bytes.data() + i, 4);
      const std::uint16_t half = f32_to_bf16(value);
      rounded.append(reinterpret_cast<const char*>(&half), 2);
    }
    tensor.dtype = "BF16";
    tensor.bytes = rounded;
  }
  expect_same(load(t, "tiny"), load(oracle("tiny-mlx-bf16")));
  EXPECT_EQ(detect_naming(*Checkpoint::open(oracle("tiny-mlx-bf16"))), Naming::kMlx);
}

TEST(Naming, ShardsGiveTheSameBitsAsOneFile) {
  const ModelArgs args = ModelArgs::load(oracle("stress"));
  TestTensors t = read_tensors(oracle("stress") + "/model-00001-of-00002.safetensors");
  t.merge(read_tensors(oracle("stress") + "/model-00002-of-00002.safetensors"));
  expect_same(load(oracle("stress")), load(t, "stress"));
}

TEST(Naming, MatricesAreMappedNotCopied) {
  for (const char* name : {"headdims", "tiny-mlx-bf16"}) {
    const ModelArgs args = ModelArgs::load(oracle(name));
    const auto checkpoint = Checkpoint::open(oracle(name));
    const ModelWeights w = bind_weights(args, checkpoint);
    const FileTensor& embed = checkpoint->tensors().find("model.embed_tokens.weight")->second.data;
    EXPECT_EQ(w.embed_tokens.data, static_cast<const void*>(embed.data)) << name;
    const auto& mla = std::get<MlaWeights>(w.layers.back().attention);
    const bool is_mlx = std::string(name) == "tiny-mlx-bf16";
    const std::string value_name =
        in_layer(args.num_hidden_layers - 1, is_mlx ? "self_attn.unembed_out.weight" : "self_attn.kv_b_proj.weight");
    const FileTensor& value = checkpoint->tensors().find(value_name)->second.data;
    const auto* p = static_cast<const std::byte*>(mla.w_uv[0].data);
    EXPECT_TRUE(p >= value.data && p < value.data + value.bytes) << name;
    EXPECT_LT(w.copied_bytes, checkpoint->bytes() / 4) << name;
  }
}

}  // namespace
}  // namespace kl
