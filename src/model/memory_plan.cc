#include "model/memory_plan.h"

#include "base/cpu_topology.h"
#include "checkpoint/checkpoint.h"
#include "config/quantization_config.h"
#include "layers/delta_attention.h"
#include "weights/sanitize.h"

namespace kl {
namespace {

/// ModelOptions::chunk_tokens.  Many tokens share one pass over the weights and one expansion of MLA's keys, but every
/// buffer of a pass grows with them.
std::ptrdiff_t pass_tokens(const ModelOptions& options, const ModelArgs& args, const ModelWeights& weights,
                           const LayerSettings& settings, int threads) {
  constexpr std::ptrdiff_t kLeast = 512, kMost = 2048;
  constexpr std::size_t kShareOfWeights = 64;
  if (options.chunk_tokens > 0) return options.chunk_tokens;
  const std::size_t budget = (weights.mapped_bytes + weights.copied_bytes) / kShareOfWeights;
  const auto fits = [&](std::ptrdiff_t tokens) {
    return KimiLinearModel::scratch_bytes(args, weights, settings, tokens, threads) <= budget;
  };
  std::ptrdiff_t tokens = kMost;
  while (tokens > kLeast && !fits(tokens)) tokens /= 2;
  return tokens;
}

/// ModelOptions::cache_type.
LatentType latent_type(const ModelOptions& options, const ModelWeights& weights) {
  switch (options.cache_type) {
    case CacheType::kF32:
      return LatentType::kF32;
    case CacheType::kBf16:
      return LatentType::kBf16;
    case CacheType::kInt8:
      return LatentType::kInt8;
    case CacheType::kAuto:
      break;
  }
  return weights.has_packed && options.compute == Compute::kAuto ? LatentType::kBf16 : LatentType::kF32;
}

}  // namespace

ModelArgs load_args(const std::filesystem::path& dir, const ModelOptions& options) {
  ModelArgs args = ModelArgs::load(dir);
  if (options.kv_a_norm_eps > 0) args.kv_a_norm_eps = options.kv_a_norm_eps;
  if (options.l2_norm_eps > 0) args.l2_norm_eps = options.l2_norm_eps;
  return args;
}

ModelChoices choose(const ModelOptions& options, const ModelArgs& args, const ModelWeights& weights) {
  ModelChoices c;
  c.threads = thread_count(options.threads);
  c.settings = {.mla_form = options.mla_form,
                .router_weights = options.router_weights,
                .compute = options.compute,
                .latents = latent_type(options, weights),
                .kda_state = options.bf16_state ? DType::kBF16 : DType::kF32};
  c.max_tokens = pass_tokens(options, args, weights, c.settings, c.threads);
  return c;
}

MemoryPlan memory_plan(const ModelArgs& args, const ModelWeights& weights, const ModelChoices& choices) {
  const auto kda_layers = static_cast<std::size_t>(args.num_layers_of(LayerKind::kKda));
  const auto mla_layers = static_cast<std::size_t>(args.num_layers_of(LayerKind::kMla));
  std::size_t kda_floats = 0;
  if (kda_layers > 0) {
    const KdaCache cache(args, choices.settings.kda_state);
    kda_floats = cache.S.size() + cache.conv.size();
  }
  const LatentFormat latents{choices.settings.latents, args.kv_lora_rank, args.qk_rope_head_dim};
  return {
      .weights_mapped = weights.mapped_bytes,
      .weights_copied = weights.copied_bytes,
      .scratch = KimiLinearModel::scratch_bytes(args, weights, choices.settings, choices.max_tokens, choices.threads),
      .state_fixed = kda_layers * kda_floats * sizeof(float),
      .state_per_token = mla_layers * static_cast<std::size_t>(latents.row_bytes()),
      .state_per_tentative = kda_layers * sizeof(float) *
                             static_cast<std::size_t>(KdaHeldTokens::row_floats(args.kda_num_heads, args.kda_head_dim)),
      .chunk_tokens = static_cast<int>(choices.max_tokens),
      .threads = choices.threads};
}

MemoryPlan plan_memory(const std::filesystem::path& dir, const ModelOptions& options) {
  const ModelArgs args = load_args(dir, options);
  Problems problems;
  const ModelWeights weights =
      bind_weights(args, Checkpoint::open(dir), load_encoding(dir).get(), problems, Binding::kCheckOnly);
  problems.throw_if_any(dir.string());
  return memory_plan(args, weights, choose(options, args, weights));
}

}  // namespace kl
