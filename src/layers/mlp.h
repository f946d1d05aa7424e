#pragma once
#include "layers/context.h"
#include "weights/weights.h"

namespace kl {

/// KimiMLP: the SwiGLU feed-forward of dense layers; every expert of KimiSparseMoE has the same form.
///
///     y = W_down ( silu(W_gate x) * (W_up x) ),   silu(z) = z / (1 + e^-z)
///
/// Role      the per-token half of a decoder layer: mixes channels, never tokens.
/// Shapes    x, y: [T, D]; hidden width F is that of the weights.
/// Source    modeling_kimi.py KimiMLP; Shazeer 2020 (SwiGLU).
class KimiMLP {
 public:
  /// Two parallel regions: gate and up with silu, then down.
  static void forward(const MlpWeights& w, const LayerContext& c, const float* x, std::ptrdiff_t T, float* y) noexcept;

  /// Takes the arena space forward() will take for T tokens.
  static void plan(const MlpWeights& w, Arena& arena, std::ptrdiff_t T);
};

}  // namespace kl
