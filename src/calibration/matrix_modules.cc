#include "calibration/matrix_modules.h"

#include <fmt/format.h>

#include "kl/error.h"

namespace kl {
namespace {

/// Lists modules part by part, as weights.h has them.
class Lister {
 public:
  void matrix(std::string name, std::span<WeightMatrix> m) {
    if (m[0].type == DType::kPacked) {
      throw Error(ErrorCode::kUnsupported, name + ": expected weights that are not quantised yet, got packed ones");
    }
    modules_.push_back({std::move(name), m});
  }

  void layer(const std::string& p, LayerWeights& w) {
    if (auto* k = std::get_if<KdaWeights>(&w.attention)) {
      kda(p + "self_attn.", *k);
    } else {
      mla(p + "self_attn.", std::get<MlaWeights>(w.attention));
    }
    if (auto* dense = std::get_if<MlpWeights>(&w.feed_forward)) {
      return mlp(p + "mlp.", *dense, "gate_proj", "up_proj", "down_proj");
    }
    auto& moe = std::get<MoeWeights>(w.feed_forward);
    const std::string block = p + "block_sparse_moe.";
    one(block + "gate", moe.router);
    for (std::size_t e = 0; e < moe.experts.size(); ++e)
      mlp(fmt::format("{}experts.{}.", block, e), moe.experts[e], "w1", "w3", "w2");
    if (moe.shared) mlp(block + "shared_experts.", *moe.shared, "gate_proj", "up_proj", "down_proj");
  }

  void one(std::string name, WeightMatrix& m) { matrix(std::move(name), {&m, 1}); }

  std::vector<MatrixModule> take() { return std::move(modules_); }

 private:
  void mlp(const std::string& p, MlpWeights& w, const char* gate, const char* up, const char* down) {
    one(p + gate, w.gate_proj);
    one(p + up, w.up_proj);
    one(p + down, w.down_proj);
  }

  void kda(const std::string& p, KdaWeights& w) {
    one(p + "q_proj", w.q_proj);
    one(p + "k_proj", w.k_proj);
    one(p + "v_proj", w.v_proj);
    one(p + "f_a_proj", w.f_a_proj);
    one(p + "g_a_proj", w.g_a_proj);
    one(p + "b_proj", w.b_proj);
    one(p + "f_b_proj", w.f_b_proj);
    one(p + "g_b_proj", w.g_b_proj);
    one(p + "o_proj", w.o_proj);
  }

  void mla(const std::string& p, MlaWeights& w) {
    one(p + "q_proj", w.q_proj);
    one(p + "kv_a_proj_with_mqa", w.kv_a_proj);
    matrix(p + "embed_q", w.w_uk);
    matrix(p + "unembed_out", w.w_uv);
    one(p + "o_proj", w.o_proj);
  }

  std::vector<MatrixModule> modules_;
};

}  // namespace

std::vector<MatrixModule> matrix_modules(const ModelArgs& args, ModelWeights& weights) {
  Lister lister;
  lister.one("model.embed_tokens", weights.embed_tokens);
  for (std::size_t i = 0; i < weights.layers.size(); ++i)
    lister.layer(fmt::format("model.layers.{}.", i), weights.layers[i]);
  if (!args.tie_word_embeddings) lister.one("lm_head", weights.lm_head);
  return lister.take();
}

}  // namespace kl
