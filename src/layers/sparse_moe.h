#pragma once
#include <cstdint>

#include "kl/model_args.h"
#include "layers/context.h"
#include "weights/weights.h"

namespace kl {

/// What the router decided for the tokens of a pass.
struct Routing {
  const std::int32_t* ids;  // [T, A] chosen experts, ascending per token
  const float* weights;     // [T, A] their final weights
};

/// KimiSparseMoE: every token passes A of E experts, and the shared expert.
///
///     s = sigmoid(W_g x)                         score of each expert (or softmax)
///     I = the A largest of s + bias              the correction bias steers the choice ...
///     w_e = s_e / sum_I s * scale,  e in I       ... but not the weight
///     y = sum_{e in I} w_e expert_e(x) + shared(x)
///
/// Role      most of the parameters at a fraction of the cost: 256 experts hold 96 % of the 48B model, and a token
///           reads 3 % of them.
/// How       tokens are sorted by expert, so an expert's weights are read once per pass for all tokens that chose it.
/// Shapes    x, y: [T, D].
/// Numerics  each expert's rows are computed exactly as if they were alone, and a token's outputs are summed in
///           ascending expert order: the result does not depend on what other tokens chose.
/// Source    modeling_kimi.py KimiMoEGate, KimiSparseMoeBlock.  See docs/moe.md.
class KimiSparseMoE {
 public:
  /// The routing lives in the arena of `c` until the caller's ArenaScope ends.
  static Routing forward(const MoeWeights& w, const ModelArgs& args, const LayerContext& c, const float* x,
                         std::ptrdiff_t T, float* y) noexcept;

  /// Takes the arena space forward() will take for T tokens.
  static void plan(const MoeWeights& w, const ModelArgs& args, Arena& arena, std::ptrdiff_t T, int workers);
};

}  // namespace kl
