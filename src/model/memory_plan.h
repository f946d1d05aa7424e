#pragma once
// What ModelOptions leave to the model, and the memory that follows from it.
#include "kl/model.h"
#include "model/kimi_linear_model.h"

namespace kl {

/// ModelOptions with every "auto" decided.
struct ModelChoices {
  int threads = 1;
  LayerSettings settings;
  std::ptrdiff_t max_tokens = 1;  ///< of a pass
};

/// Decides them for a model of these weights.
ModelChoices choose(const ModelOptions& options, const ModelArgs& args, const ModelWeights& weights);

/// What such a model takes.  The weights' data is not looked at: Binding::kCheckOnly will do.
MemoryPlan memory_plan(const ModelArgs& args, const ModelWeights& weights, const ModelChoices& choices);

/// config.json, with the conventions the caller overrides.
ModelArgs load_args(const std::filesystem::path& dir, const ModelOptions& options);

}  // namespace kl
