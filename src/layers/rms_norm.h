#pragma once
#include "layers/context.h"

namespace kl {

/// KimiRMSNorm: scales a vector to unit mean square, then per channel by a learned weight.
///
///     y = w * x / sqrt(mean(x^2) + eps)
///
/// Role      before attention, feed-forward and head: keeps the size of the residual stream out of them.
/// Shapes    x, y: [T, D]   w: [D].
/// Aliasing  y may be x.
/// Numerics  double, rounded once.
/// Source    modeling_kimi.py KimiRMSNorm.
inline void rms_norm(const LayerContext& c, const float* w, float eps, const float* x, std::ptrdiff_t T,
                     std::ptrdiff_t D, float* y) noexcept {
  for_each_token(c, T, [&](std::ptrdiff_t t) { c.kernels.rms_norm(x + t * D, w, eps, D, y + t * D); });
}

/// y += x, the residual connection around each half of a layer.
/// Shapes    x, y: [T, D].
inline void add_residual(const LayerContext& c, const float* x, std::ptrdiff_t T, std::ptrdiff_t D, float* y) noexcept {
  for_each_token(c, T, [&](std::ptrdiff_t t) { c.kernels.add(x + t * D, D, y + t * D); });
}

}  // namespace kl
