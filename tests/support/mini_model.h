#pragma once
#include <filesystem>
#include <string>

#include "config/tensor_table.h"
#include "kl/model_args.h"
#include "tests/support/tensor_file.h"

namespace kl {

/// The smallest model that has every part: one KDA layer with a dense MLP, one MLA layer with experts.
inline ModelArgs mini_args() {
  ModelArgs a = ModelArgs::like("tiny");
  a.vocab_size = a.hidden_size = 8;
  a.num_hidden_layers = 2;
  a.layer_kinds = {LayerKind::kKda, LayerKind::kMla};
  a.kda_num_heads = a.num_attention_heads = 2;
  a.kda_head_dim = a.kv_lora_rank = a.qk_nope_head_dim = 4;
  a.qk_rope_head_dim = 2;
  a.v_head_dim = 6;
  a.intermediate_size = a.moe_intermediate_size = 4;
  a.num_experts = 2;
  a.num_experts_per_token = 1;
  a.dtype = "float32";
  return a;
}

/// Its tensors, all zero.
inline TestTensors mini_tensors(const ModelArgs& args = mini_args()) {
  TestTensors tensors;
  for (const ReleasedTensor& t : released_tensors(args)) {
    std::size_t bytes = 4;
    for (const std::int64_t dim : t.shape) bytes *= static_cast<std::size_t>(dim);
    tensors[t.name] = {"F32", t.shape, std::string(bytes, '\0')};
  }
  return tensors;
}

/// A sound folder: config.json and model.safetensors.
inline void write_mini_model(const std::filesystem::path& dir) {
  put_bytes(dir / "config.json", mini_args().to_json());
  write_tensors(dir / "model.safetensors", mini_tensors());
}

}  // namespace kl
