#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "kl/arithmetic.h"

namespace kl {

/// The parts of the model that time and work are attributed to.
enum class ModelPart : std::uint8_t {
  kProjections,  ///< matrices around the attention cores: q, k, v, gates, latents, o
  kExperts,      ///< feed-forward: routed and shared experts, dense layers
  kRouter,       ///< scores and choice of the experts
  kKda,          ///< convolutions, gates, delta rule, output norm
  kMla,          ///< attention over the latent cache in either form, with the matrices of its latent space
  kHead,         ///< last norm and lm_head
  kRest,         ///< embedding, norms, residual additions, bookkeeping
};
inline constexpr std::size_t kNumParts = 7;

/// "projections", "experts", "router", "kda", "mla", "head", "norms and rest"
const char* name_of(ModelPart part);

/// What one part took and what it had to do at least: memory it must touch once per pass, arithmetic of the form used.
struct Cost {
  double seconds = 0;                         ///< wall time
  double bytes = 0;                           ///< weights and latents read, states read and written; no activations
  std::array<double, kNumArithmetics> ops{};  ///< a multiply-add is two

  /// Sums of every kind.
  void operator+=(const Cost& other);
};

/// What calls of Model::forward have cost so far, see Model::set_profile.
struct Profile {
  std::array<Cost, kNumParts> parts{};

  /// Runs the same parallel regions with kernels that do nothing: the time left is that of starting and joining them.
  /// Logits and states mean nothing afterwards.
  bool regions_only = false;

  /// What this part has cost.
  Cost& operator[](ModelPart part) { return parts[static_cast<std::size_t>(part)]; }
  const Cost& operator[](ModelPart part) const { return parts[static_cast<std::size_t>(part)]; }
  Cost total() const;  ///< of all parts
};

}  // namespace kl
