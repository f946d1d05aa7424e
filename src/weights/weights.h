#pragma once
// Every tensor of the model, named, typed and shaped.  Filled by bind_weights() (sanitize.h), read by layers/.
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "kernels/kernels.h"

namespace kl {

/// KimiMLP: down( silu(gate x) * up x ).
struct MlpWeights {
  WeightMatrix gate_proj;  // [F, D]
  WeightMatrix up_proj;    // [F, D]
  WeightMatrix down_proj;  // [D, F]
};

/// KimiSparseMoE.  Expert e is (gate_proj[e], up_proj[e], down_proj[e]), whether the file stacks experts or not.
struct MoeWeights {
  WeightMatrix router;               // [E, D]
  const float* correction_bias;      // [E]; zeros if the file has none
  std::vector<MlpWeights> experts;   // [E]
  bool experts_are_packed;           // all their matrices; otherwise all are computed in f32
  std::optional<MlpWeights> shared;  // width F * num_shared_experts
};

/// KimiDeltaAttention.
struct KdaWeights {
  WeightMatrix q_proj, k_proj, v_proj;  // [H*K, D], [H*K, D], [H*V, D]
  const float* q_conv;                  // [W, H*K] tap-major (the file stores [H*K, 1, W] or [H*K, W, 1])
  const float* k_conv;                  // [W, H*K]
  const float* v_conv;                  // [W, H*V]
  const float* A_log;                   // [H]
  const float* dt_bias;                 // [H*K]
  WeightMatrix f_a_proj, f_b_proj;      // [K, D], [H*K, K]: forget gate, low rank
  WeightMatrix b_proj;                  // [H, D]: write strength
  WeightMatrix g_a_proj, g_b_proj;      // [V, D], [H*V, V]: output gate, low rank
  const float* o_norm;                  // [V], shared by all heads
  WeightMatrix o_proj;                  // [D, H*V]
};

/// KimiMLAAttention.  kv_b_proj is held as its two halves per head, whatever the file calls them.
struct MlaWeights {
  WeightMatrix q_proj;             // [H*(N+P), D]
  WeightMatrix kv_a_proj;          // [R+P, D]
  const float* kv_a_norm;          // [R]
  std::vector<WeightMatrix> w_uk;  // [H] of [R, N]: q_nope -> latent space; transposed, latent -> key
  std::vector<WeightMatrix> w_uv;  // [H] of [V, R]: latent -> value
  WeightMatrix o_proj;             // [D, H*V]
};

/// One KimiDecoderLayer.
struct LayerWeights {
  const float* input_norm;  // [D]
  std::variant<KdaWeights, MlaWeights> attention;
  const float* post_attention_norm;  // [D]
  std::variant<MlpWeights, MoeWeights> feed_forward;
};

/// What a checkpoint holds in one encoding.
struct StoredUse {
  std::int64_t matrices = 0;  // tensors; stacked ones count once
  std::int64_t weights = 0;
  std::int64_t bytes = 0;  // in the files
};

/// The whole model.  `storage` keeps mapped files and converted tensors alive.
struct ModelWeights {
  WeightMatrix embed_tokens;  // [vocab, D]
  std::vector<LayerWeights> layers;
  const float* norm;     // [D]
  WeightMatrix lm_head;  // [vocab, D]; the embedding itself if tied

  bool has_packed = false;  // any matrix

  std::vector<std::span<const std::byte>> mapped;  // what is used where it lies in the files
  std::size_t mapped_bytes = 0;                    // all of it
  std::size_t copied_bytes = 0;                    // tensors widened, transposed, split or repacked at load
  std::map<std::pair<std::string, std::string>, StoredUse> stored;  // by encoding and form in memory
  std::shared_ptr<const void> storage;
};

}  // namespace kl
