#pragma once
// A whole model as GGUF bytes, made from the table of tensors.
#include <algorithm>
#include <cmath>

#include "config/tensor_table.h"
#include "kl/model_args.h"
#include "tests/support/gguf_bytes.h"
#include "tests/support/random.h"

namespace kl::test {

/// One byte a token, three control tokens, one unused id.
inline void add_gguf_vocabulary(GgufBytes& file) {
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types(256, 1);
  for (int b = 0, next = 256; b < 256; ++b) {
    const bool is_plain = (b >= 33 && b <= 126) || (b >= 161 && b != 173);
    const int character = is_plain ? b : next++;
    std::string utf8;
    if (character < 0x80) {
      utf8 = std::string(1, static_cast<char>(character));
    } else {
      utf8 = {static_cast<char>(0xc0 | character >> 6), static_cast<char>(0x80 | (character & 0x3f))};
    }
    tokens.push_back(utf8);
  }
  for (const char* name : {"<|im_end|>", "[BOS]", "<tool>", "[PAD259]"}) tokens.emplace_back(name);
  for (const std::int32_t type : {3, 3, 4, 5}) types.push_back(type);
  file.set("tokenizer.ggml.model", text("gpt2")).set("tokenizer.ggml.pre", text("kimi-k2"));
  file.set("tokenizer.ggml.tokens", texts(tokens)).set("tokenizer.ggml.token_type", i32s(types));
  file.set("tokenizer.ggml.eos_token_id", u32(256)).set("tokenizer.ggml.bos_token_id", u32(257));
}

inline void add_gguf_metadata(GgufBytes& file, const ModelArgs& a) {
  const auto number = [&](const char* key, int value) {
    file.set(std::string("kimi-linear.") + key, u32(static_cast<std::uint32_t>(value)));
  };
  std::vector<std::int32_t> heads;
  for (const LayerKind kind : a.layer_kinds) heads.push_back(kind == LayerKind::kKda ? 0 : 1);
  file.set("general.architecture", text("kimi-linear"));
  file.set("kimi-linear.attention.head_count_kv", i32s(heads));
  file.set("kimi-linear.attention.layer_norm_rms_epsilon", f32(a.rms_norm_eps));
  file.set("kimi-linear.expert_weights_scale", f32(a.routed_scaling_factor));
  number("block_count", a.num_hidden_layers);
  number("context_length", static_cast<int>(a.model_max_length));
  number("embedding_length", a.hidden_size);
  number("feed_forward_length", a.intermediate_size);
  number("attention.head_count", a.num_attention_heads);
  number("attention.key_length_mla", a.qk_nope_head_dim + a.qk_rope_head_dim);
  number("attention.value_length_mla", a.v_head_dim);
  number("attention.kv_lora_rank", a.kv_lora_rank);
  number("rope.dimension_count", a.qk_rope_head_dim);
  number("ssm.conv_kernel", a.kda_conv_size);
  number("kda.head_dim", a.kda_head_dim);
  number("expert_count", a.num_experts);
  number("expert_used_count", a.num_experts_per_token);
  number("expert_feed_forward_length", a.moe_intermediate_size);
  number("expert_shared_count", a.num_shared_experts);
  number("leading_dense_block_count", a.first_k_dense_replace);
  number("expert_gating_func", 2);
  number("expert_group_used_count", 1);
  number("vocab_size", a.vocab_size);
}

/// Every tensor in F32 under the names of GGUF files.
inline GgufBytes gguf_model(const ModelArgs& args) {
  GgufBytes file;
  add_gguf_metadata(file, args);
  add_gguf_vocabulary(file);
  Random random(7);
  for (const TensorRule& rule : tensor_rules(args)) {
    const auto spelling = std::find_if(rule.spellings.begin(), rule.spellings.end(),
                                       [](const Spelling& s) { return s.naming == Naming::kGguf; });
    const bool is_top = rule.part == Part::kTop || rule.part == Part::kLmHead;
    for (int layer = is_top ? -1 : 0; layer < (is_top ? 0 : args.num_hidden_layers); ++layer) {
      if (!layer_has_part(args, layer, rule.part)) continue;
      GgufBytes::Tensor& tensor = file.tensor(tensor_name(*spelling, rule.part, layer, 0));
      const auto& shape = spelling->shapes.front();
      tensor.dims.assign(shape.rbegin(), shape.rend());
      std::size_t elements = 1;
      for (const std::int64_t dim : shape) elements *= static_cast<std::size_t>(dim);
      tensor.data.clear();
      for (std::size_t i = 0; i < elements; ++i) {
        const auto x = static_cast<float>(random.uniform(-0.1, 0.1));
        tensor.data += le(spelling->is_negated_exp ? -std::exp(x) : x);
      }
    }
  }
  return file;
}

}  // namespace kl::test
