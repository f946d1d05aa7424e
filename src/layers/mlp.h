#pragma once
#include "layers/context.h"
#include "weights/weights.h"

namespace kl {

/// What a thread makes of its part of a hidden layer before the two are one.
struct GateAndUp {
  float *gate, *up;  // [T, outputs of a task]

  /// For at most T tokens.
  GateAndUp(Arena& arena, std::ptrdiff_t T)
      : gate(arena.take<float>(most_task_floats(T))), up(arena.take<float>(most_task_floats(T))) {}
};

/// KimiMLP: the SwiGLU feed-forward of dense layers; every expert of KimiSparseMoE has the same form.
///
///     y = W_down ( silu(W_gate x) * (W_up x) ),   silu(z) = z / (1 + e^-z)
///
/// Role      the per-token half of a decoder layer: mixes channels, never tokens.
/// Shapes    x, y: [T, D]; hidden width F is that of the weights.
/// Source    modeling_kimi.py KimiMLP; Shazeer 2020 (SwiGLU).
class KimiMLP {
 public:
  /// Two parallel regions: hidden(), then down.
  static void forward(const MlpWeights& w, const LayerContext& c, const float* x, std::ptrdiff_t T, float* y) noexcept;

  /// Hidden channels f0 <= f < f1 of M rows: gate and up, silu and product, all while in cache, and rounded to 8 bits on
  /// the way where `out` is quantised.  REQUIRES: f0 a multiple of 64, and f1 too unless it is F.
  /// Shapes    in: [M, D]   out: [M, F].
  static void hidden(const MlpWeights& w, const Kernels& kernels, const Rows& in, std::ptrdiff_t M, std::ptrdiff_t f0,
                     std::ptrdiff_t f1, const GateAndUp& scratch, const RowsToWrite& out) noexcept;

  /// Takes the arena space forward() will take for T tokens.
  static void plan(const MlpWeights& w, Arena& arena, std::ptrdiff_t T, int workers);
};

}  // namespace kl
