#include "convert/gguf_metadata.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/problems.h"
#include "text/tokenizer_export.h"

namespace kl {
namespace {

std::uint32_t u32(std::int64_t x) { return static_cast<std::uint32_t>(std::max<std::int64_t>(x, 0)); }

void add_attention(const ModelArgs& a, const std::string& p, GgufMetadata& m) {
  m.add_u32(p + "attention.head_count", u32(a.num_attention_heads));
  std::vector<std::int32_t> kinds;  // which layers are MLA, as a number of heads for keys and values
  for (int i = 0; i < a.num_hidden_layers; ++i) kinds.push_back(a.is_kda(i) ? 0 : 1);
  m.add_i32s(p + "attention.head_count_kv", kinds);
  m.add_f32(p + "attention.layer_norm_rms_epsilon", a.rms_norm_eps);
  m.add_u32(p + "attention.key_length", u32(a.kv_lora_rank + a.qk_rope_head_dim));
  m.add_u32(p + "attention.value_length", u32(a.kv_lora_rank));
  m.add_u32(p + "attention.key_length_mla", u32(a.qk_nope_head_dim + a.qk_rope_head_dim));
  m.add_u32(p + "attention.value_length_mla", u32(a.v_head_dim));
  m.add_u32(p + "attention.kv_lora_rank", u32(a.kv_lora_rank));
  m.add_u32(p + "rope.dimension_count", u32(a.qk_rope_head_dim));
  m.add_f32(p + "rope.freq_base", 10000.0f);  // wanted, not used
  m.add_u32(p + "ssm.conv_kernel", u32(a.kda_conv_size));
  m.add_u32(p + "kda.head_dim", u32(a.kda_head_dim));
}

void add_experts(const ModelArgs& a, const std::string& p, GgufMetadata& m) {
  m.add_u32(p + "expert_count", u32(a.num_experts));
  m.add_u32(p + "expert_used_count", u32(a.num_experts_per_token));
  m.add_u32(p + "expert_feed_forward_length", u32(a.moe_intermediate_size));
  m.add_u32(p + "expert_shared_count", u32(a.num_shared_experts));
  m.add_u32(p + "leading_dense_block_count", u32(a.first_k_dense_replace));
  m.add_f32(p + "expert_weights_scale", a.routed_scaling_factor);
  m.add_u32(p + "expert_gating_func", a.router_activation == RouterActivation::kSoftmax ? 1 : 2);
  m.add_u32(p + "expert_group_used_count", 1);
}

void add_tokenizer(const ModelArgs& a, const GgufMetadataParts& parts, GgufMetadata& m) {
  if (parts.tokenizer == nullptr) return m.add_text("tokenizer.ggml.model", "none");
  const GgufVocabulary vocabulary = gguf_vocabulary(*parts.tokenizer, a.vocab_size);
  m.add_text("tokenizer.ggml.model", "gpt2");
  m.add_text("tokenizer.ggml.pre", "kimi-k2");
  m.add_texts("tokenizer.ggml.tokens", vocabulary.tokens);
  m.add_i32s("tokenizer.ggml.token_type", vocabulary.types);
  if (!vocabulary.merges.empty()) m.add_texts("tokenizer.ggml.merges", vocabulary.merges);
  const auto add_id = [&](const char* key, int id) {
    if (id >= 0 && id < a.vocab_size) m.add_u32(key, u32(id));
  };
  add_id("tokenizer.ggml.bos_token_id", a.bos_token_id);
  const auto& stops = parts.tokenizer->stop_tokens;
  add_id("tokenizer.ggml.eos_token_id", !a.eos_token_ids.empty() ? a.eos_token_ids.front()
                                        : stops.empty()          ? -1
                                                                 : stops.front());
  add_id("tokenizer.ggml.padding_token_id", a.pad_token_id);
  if (parts.chat_template) m.add_text("tokenizer.chat_template", *parts.chat_template);
}

}  // namespace

void require_gguf_model(const ModelArgs& a, const std::string& name) {
  Problems problems;
  const auto expect = [&](bool is_so, const char* field, const std::string& expected, const std::string& got) {
    if (!is_so)
      problems.add(ErrorCode::kUnsupported,
                   fmt::format("{}: expected {}, which is all llama.cpp computes, got {}", field, expected, got));
  };
  expect(a.num_experts > 0, "num_experts", "a mixture of experts", "none");
  expect(a.num_experts == 0 || a.num_shared_experts > 0, "num_shared_experts", "at least 1", "0");
  expect(a.moe_layer_freq == 1 && a.feed_forward_kinds.empty(), "moe_layer_freq",
         "experts in every layer behind the first", "another pattern");
  expect(a.moe_renormalize || a.num_experts_per_token == 1, "moe_renormalize", "true", "false");
  expect(a.num_expert_group == 1, "num_expert_group", "1", std::to_string(a.num_expert_group));
  expect(a.num_layers_of(LayerKind::kMla) > 0, "full_attn_layers", "at least one", "none");
  expect(a.num_layers_of(LayerKind::kKda) == 0 || a.kda_num_heads == a.num_attention_heads,
         "linear_attn_config.num_heads", fmt::format("num_attention_heads, {}", a.num_attention_heads),
         std::to_string(a.kda_num_heads));
  problems.throw_if_any(name);
}

GgufMetadata gguf_metadata(const ModelArgs& a, const GgufMetadataParts& parts) {
  const std::string p = "kimi-linear.";
  GgufMetadata m;
  m.add_text("general.architecture", "kimi-linear");
  m.add_text("general.type", "model");
  m.add_text("general.name", parts.name);
  m.add_u32("general.quantization_version", 2);
  m.add_u32("general.file_type", parts.file_type);
  m.add_u32(p + "vocab_size", u32(a.vocab_size));
  m.add_u32(p + "block_count", u32(a.num_hidden_layers));
  m.add_u32(p + "context_length",
            u32(std::min<std::int64_t>(a.model_max_length > 0 ? a.model_max_length : 1 << 20, 1 << 30)));
  m.add_u32(p + "embedding_length", u32(a.hidden_size));
  m.add_u32(p + "feed_forward_length", u32(a.intermediate_size));
  add_attention(a, p, m);
  add_experts(a, p, m);
  add_tokenizer(a, parts, m);
  return m;
}

}  // namespace kl
