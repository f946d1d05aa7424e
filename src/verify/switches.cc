#include "verify/switches.h"

#include <fmt/format.h>

#include <cmath>

namespace kl {
namespace {

constexpr float kReleasedEps = 1e-6f, kOthersEps = 1e-5f;

bool are_equal(float a, float b) { return std::abs(a - b) <= 1e-3f * b; }

/// "1e-5"
std::string eps_text(float eps) {
  std::string text = fmt::format("{:.4g}", eps);
  if (const std::size_t zero = text.find("e-0"); zero != text.npos) text.erase(zero + 2, 1);
  return text;
}

/// Flags for an eps, but for the value in force.
SwitchGroup eps_group(const char* flag, float ModelOptions::*field, float in_force, std::vector<float> values) {
  SwitchGroup group;
  for (const float eps : values) {
    if (are_equal(eps, in_force)) continue;
    group.push_back({fmt::format("{} {}", flag, eps_text(eps)), [field, eps](ModelOptions& o) { o.*field = eps; }});
  }
  return group;
}

SwitchGroup cache_group(CacheType in_force) {
  SwitchGroup group;
  const std::pair<const char*, CacheType> types[] = {
      {"f32", CacheType::kF32}, {"bf16", CacheType::kBf16}, {"int8", CacheType::kInt8}};
  for (const auto& [name, type] : types) {
    if (type == in_force) continue;
    group.push_back({fmt::format("--cache-type {}", name), [type = type](ModelOptions& o) { o.cache_type = type; }});
  }
  return group;
}

}  // namespace

std::vector<SwitchGroup> switches_for(const ModelArgs& args, bool has_quantised_weights, const ModelOptions& options) {
  const bool has_mla = args.num_layers_of(LayerKind::kMla) > 0, has_kda = args.num_layers_of(LayerKind::kKda) > 0;
  std::vector<SwitchGroup> groups;
  if (args.num_experts > 0) {
    const bool is_hf = options.router_weights == RouterWeights::kHf;
    const RouterWeights other = is_hf ? RouterWeights::kUnbiased : RouterWeights::kHf;
    groups.push_back({{is_hf ? "--router-weights unbiased" : "--router-weights hf",
                       [other](ModelOptions& o) { o.router_weights = other; }}});
  }
  if (has_mla) {
    const float in_force = options.kv_a_norm_eps > 0 ? options.kv_a_norm_eps : args.kv_a_norm_eps;
    groups.push_back(eps_group("--kv-a-eps", &ModelOptions::kv_a_norm_eps, in_force, {kOthersEps, kReleasedEps}));
  }
  if (has_kda) {
    const float in_force = options.l2_norm_eps > 0 ? options.l2_norm_eps : args.l2_norm_eps;
    const float mlx_old = static_cast<float>(args.kda_head_dim) * kReleasedEps;
    groups.push_back(eps_group("--l2-eps", &ModelOptions::l2_norm_eps, in_force, {kOthersEps, mlx_old, kReleasedEps}));
  }
  if (has_quantised_weights) {
    const bool is_f32 = options.compute == Compute::kF32;
    groups.push_back({{is_f32 ? "--compute auto" : "--compute f32",
                       [is_f32](ModelOptions& o) { o.compute = is_f32 ? Compute::kAuto : Compute::kF32; }}});
  }
  if (has_mla) {
    const CacheType automatic = has_quantised_weights ? CacheType::kBf16 : CacheType::kF32;
    groups.push_back(cache_group(options.cache_type == CacheType::kAuto ? automatic : options.cache_type));
  }
  if (has_kda) {
    const bool is_bf16 = options.bf16_state;
    groups.push_back({{is_bf16 ? "--state-type f32" : "--state-type bf16",
                       [is_bf16](ModelOptions& o) { o.bf16_state = !is_bf16; }}});
  }
  return groups;
}

}  // namespace kl
