#pragma once
#include "layers/context.h"
#include "weights/weights.h"

namespace kl {

/// Rows [M, F] that an MLP's hidden layer becomes: quantised if `q` is given, else in f32.
struct HiddenRows {
  float* x = nullptr;
  std::byte* q = nullptr;

  Rows read() const { return {x, q}; }
};

/// Floats of storage for M hidden rows of either kind.
constexpr std::ptrdiff_t hidden_floats(std::ptrdiff_t M, std::ptrdiff_t F) {
  return std::max(M * F, quantized_floats(M, F));
}

/// The kind that the products with `down` read, in `storage`.
inline HiddenRows hidden_rows(const LayerContext& c, const WeightMatrix& down, float* storage) noexcept {
  if (c.integers && down.type == DType::kPacked) return {nullptr, reinterpret_cast<std::byte*>(storage)};
  return {storage, nullptr};
}

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
  /// the way where W_down wants them so.  REQUIRES: f0 a multiple of 64, and f1 too unless it is F.
  /// Shapes    in: [M, D]   scratch: 2 M (f1 - f0) floats   out: [M, F].
  static void hidden(const MlpWeights& w, const Kernels& kernels, const Rows& in, std::ptrdiff_t M, std::ptrdiff_t f0,
                     std::ptrdiff_t f1, float* scratch, const HiddenRows& out) noexcept;

  /// Takes the arena space forward() will take for T tokens.
  static void plan(const MlpWeights& w, Arena& arena, std::ptrdiff_t T, int workers);
};

}  // namespace kl
