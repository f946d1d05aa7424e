#pragma once
// What ModelOptions leave to the model, and the memory that follows from it.
#include "kl/model.h"
#include "model/kimi_linear_model.h"

namespace kl {

/// Rows of logits computed at a time: one pass over lm_head serves them all, and 16 x 163,840 floats are 10 MiB.
inline constexpr std::ptrdiff_t kLogitRows = 16;

/// ModelOptions with every "auto" decided.
struct ModelChoices {
  int threads = 1;
  LatentType latents = LatentType::kF32;
  DType state_type = DType::kF32;
  LayerSettings settings;
  std::ptrdiff_t max_tokens = 1;  ///< of a pass
};

ModelChoices choose(const ModelOptions& options, const ModelArgs& args, const ModelWeights& weights);

/// The weights' data is not looked at: Binding::kCheckOnly will do.
MemoryPlan memory_plan(const ModelArgs& args, const ModelWeights& weights, const ModelChoices& choices);

/// config.json, with the conventions the caller overrides.
ModelArgs load_args(const std::filesystem::path& dir, const ModelOptions& options);

}  // namespace kl
