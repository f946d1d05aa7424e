#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>

#include "kl/error.h"
#include "kl/model_args.h"

namespace kl {
namespace {

/// The double that prints like the float, so that files say 1e-05 and not 9.999999747378752e-06.
double as_written(float value) { return std::stod(fmt::format("{}", value)); }

/// K K K M repeated; the last layer is MLA as well.
std::vector<LayerKind> three_to_one(int num_layers) {
  std::vector<LayerKind> kinds(static_cast<std::size_t>(num_layers), LayerKind::kKda);
  for (std::size_t i = 3; i < kinds.size(); i += 4) kinds[i] = LayerKind::kMla;
  kinds.back() = LayerKind::kMla;
  return kinds;
}

/// Kimi-Linear-48B-A3B as released.
ModelArgs released_48b() {
  ModelArgs a;
  a.vocab_size = 163840;
  a.hidden_size = 2304;
  a.num_hidden_layers = 27;
  a.rms_norm_eps = 1e-5f;
  a.layer_kinds = three_to_one(27);
  a.kda_num_heads = 32;
  a.kda_head_dim = 128;
  a.num_attention_heads = 32;
  a.kv_lora_rank = 512;
  a.qk_nope_head_dim = 128;
  a.qk_rope_head_dim = 64;
  a.v_head_dim = 128;
  a.intermediate_size = 9216;
  a.num_experts = 256;
  a.num_experts_per_token = 8;
  a.num_shared_experts = 1;
  a.moe_intermediate_size = 1024;
  a.first_k_dense_replace = 1;
  a.routed_scaling_factor = 2.446f;
  a.model_max_length = 1048576;
  a.bos_token_id = 163584;
  a.eos_token_ids = {163586};
  a.pad_token_id = 163839;
  a.dtype = "bfloat16";
  return a;
}

/// Every part of the model in dimensions a test runs through in milliseconds.
ModelArgs tiny() {
  ModelArgs a = released_48b();
  a.vocab_size = 320;
  a.hidden_size = 64;
  a.num_hidden_layers = 4;
  a.layer_kinds = three_to_one(4);
  a.kda_num_heads = a.num_attention_heads = 2;
  a.kda_head_dim = a.kv_lora_rank = a.qk_nope_head_dim = a.v_head_dim = 32;
  a.qk_rope_head_dim = 16;
  a.intermediate_size = 128;
  a.num_experts = 8;
  a.num_experts_per_token = 2;
  a.moe_intermediate_size = 32;
  a.bos_token_id = 312;
  a.eos_token_ids = {314};
  a.pad_token_id = 319;
  return a;
}

/// linear_attn_config: the layer lists, which count from 1, and KDA's dimensions.
void put_layers(const ModelArgs& a, nlohmann::ordered_json& json) {
  auto& linear = json["linear_attn_config"];
  if (a.num_layers_of(LayerKind::kKda) == 0) {
    linear = nullptr;
    return;
  }
  linear["full_attn_layers"] = nlohmann::ordered_json::array();
  linear["kda_layers"] = nlohmann::ordered_json::array();
  for (int i = 0; i < a.num_hidden_layers; ++i) {
    linear[a.is_kda(i) ? "kda_layers" : "full_attn_layers"].push_back(i + 1);
  }
  linear["head_dim"] = a.kda_head_dim;
  linear["num_heads"] = a.kda_num_heads;
  linear["short_conv_kernel_size"] = a.kda_conv_size;
}

/// The fields of the experts.
void put_moe(const ModelArgs& a, nlohmann::ordered_json& json) {
  json["num_experts"] = a.num_experts;
  if (a.num_experts_per_token > 0) json["num_experts_per_token"] = a.num_experts_per_token;
  json["num_shared_experts"] = a.num_shared_experts;
  if (a.moe_intermediate_size > 0) json["moe_intermediate_size"] = a.moe_intermediate_size;
  json["moe_layer_freq"] = a.moe_layer_freq;
  if (a.feed_forward_kinds.empty()) {
    json["first_k_dense_replace"] = a.first_k_dense_replace;
  } else {
    for (const FeedForwardKind kind : a.feed_forward_kinds) {
      json["mlp_layer_types"].push_back(kind == FeedForwardKind::kMoe ? "sparse" : "dense");
    }
  }
  json["moe_router_activation_func"] = a.router_activation == RouterActivation::kSoftmax ? "softmax" : "sigmoid";
  json["moe_renormalize"] = a.moe_renormalize;
  json["routed_scaling_factor"] = as_written(a.routed_scaling_factor);
  json["use_grouped_topk"] = true;
  json["num_expert_group"] = a.num_expert_group;
  json["topk_group"] = a.topk_group;
}

}  // namespace

ModelArgs ModelArgs::like(std::string_view name) {
  ModelArgs a = released_48b();
  if (name == "48b") return a;
  if (name == "tiny") return tiny();
  if (name == "slice4" || name == "slice8") {
    a.num_hidden_layers = name == "slice4" ? 4 : 8;
    a.layer_kinds.resize(static_cast<std::size_t>(a.num_hidden_layers));
    return a;
  }
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("model size: expected 48b, slice4, slice8 or tiny, got {}", name));
}

std::string ModelArgs::to_json() const {
  nlohmann::ordered_json json;
  json["architectures"] = {"KimiLinearForCausalLM"};
  json["model_type"] = "kimi_linear";
  if (!dtype.empty()) json["dtype"] = dtype;
  json["vocab_size"] = vocab_size;
  json["hidden_size"] = hidden_size;
  json["num_hidden_layers"] = num_hidden_layers;
  json["hidden_act"] = "silu";
  json["rms_norm_eps"] = as_written(rms_norm_eps);
  json["tie_word_embeddings"] = tie_word_embeddings;
  put_layers(*this, json);
  if (num_attention_heads > 0) json["num_attention_heads"] = json["num_key_value_heads"] = num_attention_heads;
  json["q_lora_rank"] = nullptr;
  if (num_layers_of(LayerKind::kMla) > 0) {
    json["kv_lora_rank"] = kv_lora_rank;
    json["qk_nope_head_dim"] = qk_nope_head_dim;
    json["qk_rope_head_dim"] = qk_rope_head_dim;
    json["v_head_dim"] = v_head_dim;
  }
  json["mla_use_nope"] = true;
  json["rope_scaling"] = nullptr;
  if (intermediate_size > 0) json["intermediate_size"] = intermediate_size;
  put_moe(*this, json);
  json["num_nextn_predict_layers"] = 0;
  if (model_max_length > 0) json["model_max_length"] = model_max_length;
  if (bos_token_id >= 0) json["bos_token_id"] = bos_token_id;
  if (eos_token_ids.size() == 1) {
    json["eos_token_id"] = eos_token_ids.front();
  } else if (!eos_token_ids.empty()) {
    json["eos_token_id"] = eos_token_ids;
  }
  if (pad_token_id >= 0) json["pad_token_id"] = pad_token_id;
  return json.dump(2) + "\n";
}

}  // namespace kl
