#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kl {

/// How the attention part of a decoder layer mixes tokens.
enum class LayerKind : std::uint8_t {
  kKda,  ///< Kimi Delta Attention: linear attention with a fixed-size state
  kMla,  ///< multi-head latent attention: full attention over cached latents, without positions (NoPE)
};

/// What follows attention in a decoder layer.
enum class FeedForwardKind : std::uint8_t {
  kDense,  ///< one SwiGLU MLP
  kMoe,    ///< a sparse mixture of experts
};

/// What turns router logits into scores (`moe_router_activation_func`).
enum class RouterActivation : std::uint8_t { kSigmoid, kSoftmax };

/// Everything `config.json` says about the mathematics of a Kimi Linear model, in one spelling.
///
/// Three spellings of the file give the same ModelArgs: the released remote-code config, the native Hugging Face one
/// (`layer_types`, `n_group`, `linear_head_dim`, ...) and mlx-lm's.  Layer lists in the file count from 1; everything
/// here counts from 0.  Letters in brackets are those of docs/notation.md; numbers are those of Kimi-Linear-48B-A3B.
struct ModelArgs {
  // --- the residual stream, every layer -----------------------------------------------------------------------------
  int vocab_size = 0;           ///< tokens the embedding knows (163840)
  int hidden_size = 0;          ///< [D] width of the residual stream (2304)
  int num_hidden_layers = 0;    ///< decoder layers (27)
  float rms_norm_eps = 1e-6f;   ///< eps of every RMSNorm but kv_a_layernorm (1e-5)
  float kv_a_norm_eps = 1e-6f;  ///< eps of kv_a_layernorm: the released code uses its class default, not rms_norm_eps
  float l2_norm_eps = 1e-6f;    ///< eps inside sqrt(sum x^2 + eps) of KDA's q and k; fixed in code, not in the file
  bool tie_word_embeddings = false;    ///< lm_head is the embedding matrix
  std::vector<LayerKind> layer_kinds;  ///< [num_hidden_layers] from kda_layers / layer_types (K K K M ... K K M)

  // --- KDA layers ---------------------------------------------------------------------------------------------------
  int kda_num_heads = 0;  ///< [H] linear_attn_config.num_heads (32)
  int kda_head_dim = 0;   ///< [K = V] linear_attn_config.head_dim (128)
  int kda_conv_size = 4;  ///< [W] linear_attn_config.short_conv_kernel_size, taps including the current token

  // --- MLA layers ---------------------------------------------------------------------------------------------------
  int num_attention_heads = 0;  ///< [H] (32)
  int kv_lora_rank = 0;         ///< [R] width of the cached latent (512)
  int qk_nope_head_dim = 0;     ///< [N] key dims expanded per head (128)
  int qk_rope_head_dim = 0;     ///< [P] key dims shared by all heads (64); the name is history: nothing is rotated
  int v_head_dim = 0;           ///< [V] value dims per head (128)

  // --- dense feed-forward (layers before first_k_dense_replace, and those moe_layer_freq skips) ---------------------
  int intermediate_size = 0;  ///< (9216)

  // --- mixture of experts -------------------------------------------------------------------------------------------
  int num_experts = 0;            ///< [E] 0 = no layer has experts (256)
  int num_experts_per_token = 0;  ///< [A] experts each token is sent to (8)
  int num_shared_experts = 0;     ///< experts every token passes; shared width = this * moe_intermediate_size (1)
  int moe_intermediate_size = 0;  ///< [F] hidden width of one expert (1024)
  int first_k_dense_replace = 0;  ///< layers below this index are dense (1)
  int moe_layer_freq = 1;         ///< of the others, every moe_layer_freq-th index has experts (1)
  /// [num_hidden_layers] where the file lists a pattern that the two numbers above cannot say (mlp_layer_types),
  /// else empty.
  std::vector<FeedForwardKind> feed_forward_kinds;
  RouterActivation router_activation = RouterActivation::kSigmoid;
  bool moe_renormalize = true;         ///< the chosen weights are divided by their sum (only when A > 1)
  float routed_scaling_factor = 1.0f;  ///< multiplies the chosen weights after that (2.446)
  int num_expert_group = 1;            ///< experts are chosen among the best groups only (1 = no grouping)
  int topk_group = 1;                  ///< groups kept

  // --- text ---------------------------------------------------------------------------------------------------------
  std::int64_t model_max_length = 0;  ///< context the model was trained for, tokens (1048576); 0 = not stated
  int bos_token_id = -1;              ///< -1 = none
  std::vector<int> eos_token_ids;     ///< as config.json states them; generation_config.json may replace them
  int pad_token_id = -1;

  // --- what the file said besides -----------------------------------------------------------------------------------
  std::string dtype;                      ///< "bfloat16"; informative, tensors carry their own type
  std::vector<std::string> unknown_keys;  ///< keys kl does not know; harmless, listed by `kl inspect`

  /// Whether this layer's attention is KDA; else it is MLA.
  bool is_kda(int layer) const { return layer_kinds[static_cast<std::size_t>(layer)] == LayerKind::kKda; }
  /// Whether this layer's feed-forward is a mixture of experts; else it is dense.
  bool is_moe(int layer) const {
    if (num_experts == 0) return false;
    if (!feed_forward_kinds.empty()) {
      return feed_forward_kinds[static_cast<std::size_t>(layer)] == FeedForwardKind::kMoe;
    }
    return layer >= first_k_dense_replace && layer % moe_layer_freq == 0;
  }
  int num_layers_of(LayerKind kind) const;  ///< layers of this kind

  /// Reads and validates DIR/config.json, or the file itself, or the metadata of a GGUF file.
  /// Throws Error with *all* problems in one message: kNotFound, kCorrupt (not JSON, wrong types, impossible values),
  /// or kUnsupported (a field that changes the mathematics, named together with the model family it suggests).
  static ModelArgs load(const std::filesystem::path& dir_or_file);

  /// The same from text; `name` stands for the file in messages.
  static ModelArgs parse(std::string_view json, const std::string& name);

  /// The released 48B-A3B configuration, and its shrunken relatives: "48b", "slice4", "slice8", "tiny".
  static ModelArgs like(std::string_view name);

  /// config.json in the released spelling; parse(to_json()) gives equal arguments.  Fields of layer kinds the model
  /// does not have are left out.
  std::string to_json() const;

  bool operator==(const ModelArgs&) const = default;
};

}  // namespace kl
