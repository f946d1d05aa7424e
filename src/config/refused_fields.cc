#include "config/refused_fields.h"

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace kl {
namespace {

// When does a value change the mathematics?
bool if_set(const Json& value) { return !value.is_null() && value.boolean() != false && value.number() != 0; }
bool if_false(const Json& value) { return value.boolean() == false; }
bool if_not_one(const Json& value) { return !value.is_null() && value.number() != 1; }
bool if_not_silu(const Json& value) { return value.string() ? *value.string() != "silu" : !value.is_null(); }
bool if_not_noaux_tc(const Json& value) { return value.string() && *value.string() != "noaux_tc"; }

/// transformers 5 writes rope_type "default" even for models that never rotate; everything else asks for more.
bool if_rope_is_scaled(const Json& value) {
  if (value.is_null()) return false;
  const Json* type = value.find("rope_type");
  return !type || !type->string() || *type->string() != "default";
}

/// A field, when its value is more than an unused default, and what it would mean.
struct RefusedField {
  std::string_view path;  // may lie in linear_attn_config
  bool (*changes_the_model)(const Json&);
  std::string_view effect;
  std::string_view looks_like;
};

constexpr std::string_view kK3 = "Kimi-K3";
constexpr std::string_view kK3OrGlm = "Kimi-K3 or GLM-5.3 (glm5_next)";
constexpr std::string_view kFla = "a KDA variant of flash-linear-attention";
constexpr std::string_view kDeepSeek = "DeepSeek-V3 or Kimi-K2";
constexpr std::string_view kGlm = "GLM-5.3 (glm5_next) or DeepSeek-V3.2";

constexpr RefusedField kRefusedFields[] = {
    {"linear_attn_config.gate_lower_bound", if_set, "bounds the decay of KDA from below", kK3OrGlm},
    {"linear_attn_config.lower_bound", if_set, "bounds the decay of KDA from below", kFla},
    {"linear_attn_config.safe_gate", if_set, "bounds the decay of KDA from below", kFla},
    {"linear_attn_config.use_full_rank_gate", if_set, "replaces the low-rank output gate of KDA", kK3},
    {"linear_attn_config.allow_neg_eigval", if_set, "doubles the write strength of KDA", kFla},
    {"linear_attn_config.num_v_heads", if_set, "gives KDA more value heads than key heads", kFla},
    {"gate_lower_bound", if_set, "bounds the decay of KDA from below", kK3OrGlm},
    {"linear_lower_bound", if_set, "bounds the decay of KDA from below", "GLM-5.3 (glm5_next)"},
    {"use_full_rank_gate", if_set, "replaces the low-rank output gate of KDA", kK3},
    {"mla_use_output_gate", if_set, "gates the output of full attention", kK3},
    {"attn_res_block_size", if_set, "adds attention over earlier residual blocks", kK3},
    {"routed_expert_hidden_size", if_set, "puts the routed experts into a latent space", kK3},
    {"latent_moe_use_norm", if_set, "normalises the input of the routed experts", kK3},
    {"hidden_act", if_not_silu, "replaces SwiGLU's activation (silu)", kK3},
    {"swiglu_limit", if_set, "clamps the activations of SwiGLU", "GLM-5.3 (glm5_next)"},
    {"q_lora_rank", if_set, "splits the query projection in two", "Kimi-K3, DeepSeek-V3 or Kimi-K2"},
    {"mla_use_nope", if_false, "rotates queries and keys by position", kDeepSeek},
    {"rope_scaling", if_set, "rescales rotary positions", kDeepSeek},
    {"rope_parameters", if_rope_is_scaled, "rescales rotary positions", kDeepSeek},
    {"attention_bias", if_set, "adds biases to the attention projections", "another MLA model"},
    {"sliding_window", if_set, "limits how far attention looks back", "another hybrid model"},
    {"topk_method", if_not_noaux_tc, "chooses experts without the correction bias", "DeepSeek-V2"},
    {"index_topk", if_set, "lets full attention see selected tokens only", kGlm},
    {"hc_mult", if_set, "widens the residual stream (hyper-connections)", "GLM-5.3 (glm5_next)"},
    {"partial_rotary_factor", if_set, "rotates queries and keys by position", "another hybrid model"},
    {"embedding_multiplier", if_not_one, "scales the embeddings", "another hybrid model"},
    {"logits_scaling", if_not_one, "scales the logits", "another hybrid model"},
    {"final_logit_softcapping", if_set, "bounds the logits", "another model"},
    {"vision_config", if_set, "adds an image encoder", "a multimodal model"},
};

/// The value at "a.b", nullptr if there is none.
const Json* find_path(const Json& config, std::string_view path) {
  const std::size_t dot = path.find('.');
  if (dot == path.npos) return config.find(path);
  const Json* inner = config.find(path.substr(0, dot));
  return inner ? inner->find(path.substr(dot + 1)) : nullptr;
}

}  // namespace

bool report_refused_fields(const Json& config, Problems& problems) {
  for (const RefusedField& field : kRefusedFields) {
    const Json* value = find_path(config, field.path);
    if (!value || !field.changes_the_model(*value)) continue;
    problems.add(ErrorCode::kUnsupported, fmt::format("{}: {} {}, unlike Kimi Linear; this looks like {}", field.path,
                                                      value->describe(), field.effect, field.looks_like));
  }

  const Json* type = config.find("model_type");
  const std::string* name = type ? type->string() : nullptr;
  if (name && *name == "kimi_linear") return true;
  if (name && *name == "kimi_k3") {
    problems.add(ErrorCode::kUnsupported,
                 "model_type: \"kimi_k3\" is Kimi-K3, a successor with other attention, experts and "
                 "residuals; kl computes \"kimi_linear\"");
  } else if (type && !type->is_null()) {
    problems.add(ErrorCode::kUnsupported, "model_type: expected \"kimi_linear\", got " + type->describe());
  } else {
    problems.add("model_type: missing, expected \"kimi_linear\"");
  }
  return false;
}

bool is_refusable_field(std::string_view name) {
  for (const RefusedField& field : kRefusedFields) {
    if (field.path == name) return true;
  }
  return false;
}

}  // namespace kl
