#include "weights/sanitize.h"

#include <algorithm>
#include <string>
#include <utility>

#include "weights/binder.h"

namespace kl {
namespace {

// One function per part of the model, in the order of weights.h; `i` is the layer.
KdaWeights bind_kda(Binder& b, int i) {
  KdaWeights w{};
  w.q_proj = b.matrix("kda.q_proj", i);
  w.k_proj = b.matrix("kda.k_proj", i);
  w.v_proj = b.matrix("kda.v_proj", i);
  w.q_conv = b.taps_first("kda.q_conv", i);
  w.k_conv = b.taps_first("kda.k_conv", i);
  w.v_conv = b.taps_first("kda.v_conv", i);
  w.A_log = b.vector("kda.A_log", i);
  w.dt_bias = b.vector("kda.dt_bias", i);
  w.f_a_proj = b.matrix("kda.f_a_proj", i);
  w.f_b_proj = b.matrix("kda.f_b_proj", i);
  w.b_proj = b.matrix("kda.b_proj", i);
  w.g_a_proj = b.matrix("kda.g_a_proj", i);
  w.g_b_proj = b.matrix("kda.g_b_proj", i);
  w.o_norm = b.vector("kda.o_norm", i);
  w.o_proj = b.matrix("kda.o_proj", i);
  return w;
}

MlaWeights bind_mla(Binder& b, const ModelArgs& args, int i) {
  MlaWeights w{};
  w.q_proj = b.matrix("mla.q_proj", i);
  w.kv_a_proj = b.matrix("mla.kv_a_proj", i);
  w.kv_a_norm = b.vector("mla.kv_a_norm", i);
  for (int h = 0; h < args.num_attention_heads; ++h) {
    w.w_uk.push_back(b.matrix("mla.w_uk", i, h));
    w.w_uv.push_back(b.matrix("mla.w_uv", i, h));
  }
  w.o_proj = b.matrix("mla.o_proj", i);
  return w;
}

MlpWeights bind_mlp(Binder& b, const std::string& part, int i, std::int64_t expert = 0) {
  return {b.matrix(part + ".gate_proj", i, expert), b.matrix(part + ".up_proj", i, expert),
          b.matrix(part + ".down_proj", i, expert)};
}

MoeWeights bind_moe(Binder& b, const ModelArgs& args, int i) {
  MoeWeights w{};
  w.router = b.matrix("moe.router", i);
  w.correction_bias = b.vector("moe.correction_bias", i);
  for (int e = 0; e < args.num_experts; ++e) w.experts.push_back(bind_mlp(b, "expert", i, e));
  const auto is_packed = [](const MlpWeights& e) {
    return e.gate_proj.type == DType::kPacked && e.up_proj.type == DType::kPacked && e.down_proj.type == DType::kPacked;
  };
  w.experts_are_packed = std::all_of(w.experts.begin(), w.experts.end(), is_packed);
  if (args.num_shared_experts > 0) w.shared = bind_mlp(b, "shared", i);
  return w;
}

LayerWeights bind_layer(Binder& b, const ModelArgs& args, int i) {
  LayerWeights w{};
  w.input_norm = b.vector("input_norm", i);
  w.post_attention_norm = b.vector("post_attention_norm", i);
  if (args.is_kda(i)) {
    w.attention = bind_kda(b, i);
  } else {
    w.attention = bind_mla(b, args, i);
  }
  if (args.is_moe(i)) {
    w.feed_forward = bind_moe(b, args, i);
  } else {
    w.feed_forward = bind_mlp(b, "mlp", i);
  }
  return w;
}

}  // namespace

bool is_left_alone(std::string_view name, const FileTensor& tensor) {
  return name.starts_with("model.mtp") || name.ends_with("rotary_emb.inv_freq") || tensor.bytes == 0;
}

Naming detect_naming(const Checkpoint& checkpoint) {
  if (checkpoint.is_gguf()) return Naming::kGguf;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const auto has = [&name = name](std::string_view part) { return name.find(part) != name.npos; };
    if (has(".switch_mlp.") || has("_conv.conv.weight") || has(".embed_q.")) return Naming::kMlx;
    if (has(".forget_gate.") || has(".experts.gate_up_proj") || has(".self_attn.conv1d.")) return Naming::kNative;
    if (has(".block_sparse_moe.") || has("_conv1d.weight")) return Naming::kReleased;
  }
  return Naming::kReleased;
}

ModelWeights bind_weights(const ModelArgs& args, std::shared_ptr<const Checkpoint> checkpoint, const Encoding* encoding,
                          Problems& problems, Binding binding) {
  ModelWeights weights{};
  const auto storage = std::make_shared<Storage>();
  storage->checkpoint = std::move(checkpoint);
  Binder b(args, *storage, weights, encoding, binding);
  weights.embed_tokens = b.matrix("embed_tokens", -1);
  for (int i = 0; i < args.num_hidden_layers; ++i) weights.layers.push_back(bind_layer(b, args, i));
  weights.norm = b.vector("norm", -1);
  weights.lm_head = args.tie_word_embeddings ? weights.embed_tokens : b.matrix("lm_head", -1);
  b.finish(problems);
  weights.storage = storage;
  return weights;
}

ModelWeights bind_weights(const ModelArgs& args, std::shared_ptr<const Checkpoint> checkpoint,
                          const Encoding* encoding) {
  Problems problems;
  const std::string name = checkpoint->name();
  ModelWeights weights = bind_weights(args, std::move(checkpoint), encoding, problems, Binding::kWhole);
  problems.throw_if_any(name);
  return weights;
}

}  // namespace kl
