#include "config/gguf_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "base/problems.h"
#include "kl/error.h"

namespace kl {
namespace {

using nlohmann::json;

constexpr std::string_view kArchitecture = "kimi-linear";
constexpr std::string_view kPrefix = "kimi-linear.";
constexpr std::string_view kVocabSize = "kimi-linear.vocab_size", kTokens = "tokenizer.ggml.tokens";

/// A key whose value goes into config.json as it is.  Keys without a dot in front have kPrefix before them.
struct PlainKey {
  std::string_view key, field;
  bool is_required;
};

constexpr PlainKey kPlainKeys[] = {
    {".block_count", "num_hidden_layers", true},
    {".context_length", "model_max_length", false},
    {".embedding_length", "hidden_size", true},
    {".feed_forward_length", "intermediate_size", false},
    {".attention.head_count", "num_attention_heads", true},
    {".attention.layer_norm_rms_epsilon", "rms_norm_eps", true},
    {".attention.kv_lora_rank", "kv_lora_rank", false},
    {".attention.q_lora_rank", "q_lora_rank", false},
    {".attention.sliding_window", "sliding_window", false},
    {".rope.dimension_count", "qk_rope_head_dim", false},
    {".expert_count", "num_experts", false},
    {".expert_used_count", "num_experts_per_token", false},
    {".expert_feed_forward_length", "moe_intermediate_size", false},
    {".expert_shared_count", "num_shared_experts", false},
    {".leading_dense_block_count", "first_k_dense_replace", false},
    {".expert_weights_scale", "routed_scaling_factor", false},
    {".expert_weights_norm", "moe_renormalize", false},
    {".expert_group_count", "num_expert_group", false},
    {".expert_group_used_count", "topk_group", false},
    {".logit_scale", "logits_scaling", false},
    {".final_logit_softcapping", "final_logit_softcapping", false},
    {"tokenizer.ggml.bos_token_id", "bos_token_id", false},
    {"tokenizer.ggml.eos_token_id", "eos_token_id", false},
    {"tokenizer.ggml.padding_token_id", "pad_token_id", false},
};

constexpr PlainKey kLinearKeys[] = {
    {".kda.head_dim", "head_dim", false},
    {".ssm.conv_kernel", "short_conv_kernel_size", false},
    {".kda.safe_gate", "safe_gate", false},
    {".kda.gate_lower_bound", "gate_lower_bound", false},
};

/// Known, and either read elsewhere or without influence on what is computed.
constexpr std::string_view kOtherKeys[] = {"attention.key_length", "attention.value_length", "rope.freq_base"};

class Translator {
 public:
  explicit Translator(const GgufFile& gguf) : gguf_(gguf) {}

  json run() {
    config_["model_type"] = "kimi_linear";
    config_["architectures"] = {"KimiLinearForCausalLM"};
    config_["mla_use_nope"] = true;
    json& linear = config_["linear_attn_config"] = json::object();
    for (const PlainKey& key : kPlainKeys) copy(key, config_);
    for (const PlainKey& key : kLinearKeys) copy(key, linear);
    if (config_.contains("num_attention_heads")) linear["num_heads"] = config_["num_attention_heads"];
    read_vocab_size();
    read_layer_kinds(linear);
    read_head_dims();
    read_router();
    keep_unknown_keys();
    problems_.throw_if_any(gguf_.name());
    return config_;
  }

 private:
  /// The value under "kimi-linear." + key, nullptr if there is none.
  const GgufValue* find(std::string_view key) {
    std::string full = key.front() == '.' ? std::string(kArchitecture) + std::string(key) : std::string(key);
    const GgufValue* value = gguf_.find(full);
    known_.insert(std::move(full));
    return value;
  }

  void report(std::string_view key, const std::string& what) {
    problems_.add(fmt::format("{}{}: {}", key.front() == '.' ? kArchitecture : "", key, what));
  }

  std::optional<std::int64_t> integer(std::string_view key) {
    const GgufValue* value = find(key);
    if (value == nullptr) return {};
    const auto number = value->integer();
    if (!number) report(key, "expected an integer, got " + value->describe());
    return number;
  }

  void copy(const PlainKey& key, json& to) {
    const GgufValue* value = find(key.key);
    if (value == nullptr) {
      if (key.is_required) report(key.key, "missing");
    } else if (const auto flag = value->boolean()) {
      to[key.field] = *flag;
    } else if (const auto whole = value->integer()) {
      to[key.field] = *whole;
    } else if (const auto number = value->number()) {
      to[key.field] = *number;
    } else {
      report(key.key, "expected a number, got " + value->describe());
    }
  }

  void read_vocab_size() {
    if (const auto size = integer(".vocab_size")) {
      config_["vocab_size"] = *size;
    } else if (const GgufValue* tokens = find(kTokens); tokens != nullptr && tokens->type == GgufType::kArray) {
      config_["vocab_size"] = tokens->count;
    } else if (gguf_.find(kVocabSize) == nullptr) {
      report(".vocab_size", "missing, and so are tokenizer.ggml.tokens");
    }
  }

  /// One number for all layers, or one for each.
  void read_layer_kinds(json& linear) {
    constexpr std::string_view kKey = ".attention.head_count_kv";
    const GgufValue* value = find(kKey);
    if (value == nullptr) return report(kKey, "missing, so no layer's kind is known");
    const std::int64_t num_layers = integer(".block_count").value_or(0);
    std::vector<std::int64_t> heads;
    if (const auto all = value->integers()) {
      heads = *all;
    } else if (const auto one = value->integer(); one && num_layers >= 0 && num_layers <= kMaxLayers) {
      heads.assign(static_cast<std::size_t>(num_layers), *one);
    } else {
      return report(kKey, "expected integers, one a layer, got " + value->describe());
    }
    if (static_cast<std::int64_t>(heads.size()) != num_layers) {
      return report(kKey, fmt::format("expected {} entries, one a layer, got {}", num_layers, heads.size()));
    }
    json kda = json::array(), full = json::array();
    for (std::size_t i = 0; i < heads.size(); ++i) {
      if (heads[i] < 0) return report(kKey, fmt::format("expected numbers from 0, got {}", heads[i]));
      (heads[i] == 0 ? kda : full).push_back(i + 1);
    }
    linear["kda_layers"] = std::move(kda);
    linear["full_attn_layers"] = std::move(full);
  }

  /// Old files know no ..._mla; their key_length is that of a head.
  void read_head_dims() {
    const auto first = [this](std::string_view newer, std::string_view older) {
      const auto value = integer(newer);
      return value || find(newer) != nullptr ? value : integer(older);
    };
    const auto key = first(".attention.key_length_mla", ".attention.key_length");
    const auto value = first(".attention.value_length_mla", ".attention.value_length");
    const std::int64_t rope = integer(".rope.dimension_count").value_or(0);
    if (value) config_["v_head_dim"] = *value;
    if (!config_.contains("qk_rope_head_dim")) config_["qk_rope_head_dim"] = 0;
    if (!key) return;
    if (rope < 0 || *key <= rope) {
      report(".attention.key_length_mla",
             fmt::format("expected more than the {} of rope.dimension_count, got {}", rope, *key));
    } else {
      config_["qk_nope_head_dim"] = *key - rope;
    }
  }

  void read_router() {
    if (const auto function = integer(".expert_gating_func")) {
      if (*function != 1 && *function != 2) {
        problems_.add(
            ErrorCode::kUnsupported,
            fmt::format("{}expert_gating_func: expected 1 (softmax) or 2 (sigmoid), got {}", kPrefix, *function));
      }
      config_["moe_router_activation_func"] = *function == 1 ? "softmax" : "sigmoid";
    }
    // The converter writes how many groups are used, but not how many there are, which is harmless for one group only.
    if (config_.contains("topk_group") && !config_.contains("num_expert_group") && config_["topk_group"] != 1) {
      report(".expert_group_count", "missing, though expert_group_used_count is " + config_["topk_group"].dump());
    }
    if (const auto extra = integer(".nextn_predict_layers"); extra && *extra != 0) {
      problems_.add(ErrorCode::kUnsupported,
                    fmt::format("{}nextn_predict_layers: expected no prediction heads among the blocks, got {}",
                                kPrefix, *extra));
    }
  }

  void keep_unknown_keys() {
    for (const std::string_view key : kOtherKeys) known_.insert(std::string(kPrefix) + std::string(key));
    for (const auto& [key, value] : gguf_.metadata()) {
      if (key.starts_with(kPrefix) && !known_.contains(key)) config_[key] = value.describe();
    }
  }

  static constexpr std::int64_t kMaxLayers = 4096;

  const GgufFile& gguf_;
  Problems problems_;
  json config_ = json::object();
  std::set<std::string, std::less<>> known_;
};

}  // namespace

std::string gguf_config_json(const GgufFile& gguf) {
  const GgufValue* value = gguf.find("general.architecture");
  if (value == nullptr) throw Error(ErrorCode::kCorrupt, gguf.name() + ": general.architecture: missing");
  if (value->text() != kArchitecture) {
    throw Error(ErrorCode::kUnsupported, fmt::format("{}: general.architecture: expected \"{}\", got {}", gguf.name(),
                                                     kArchitecture, value->describe()));
  }
  return Translator(gguf).run().dump(2, ' ', false, json::error_handler_t::replace);
}

ModelArgs gguf_model_args(const GgufFile& gguf) {
  return ModelArgs::parse(gguf_config_json(gguf), gguf.name() + " (metadata, as config.json)");
}

}  // namespace kl
