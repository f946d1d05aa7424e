#pragma once
#include "layers/context.h"

namespace kl {

/// KimiRMSNorm: scales a vector to unit mean square, then per channel by a learned weight.
///
///     y = w * x / sqrt(mean(x^2) + eps)
///
/// Role      before attention, before the feed-forward, and before the head; keeps the residual stream's size out of
/// them. Shapes    x, y: [T, D]   w: [D].   y may be x. Source    reference 2.2; modeling_kimi.py KimiRMSNorm.
inline void rms_norm(const LayerContext& c, const float* w, float eps, const float* x, std::ptrdiff_t T,
                     std::ptrdiff_t D, float* y) noexcept {
  for_each_token(c, T, [&](std::ptrdiff_t t) { c.kernels.rms_norm(x + t * D, w, eps, D, y + t * D); });
}

/// y += x, the residual connection around each half of a layer.   Shapes  [T, D].
inline void add_residual(const LayerContext& c, const float* x, std::ptrdiff_t T, std::ptrdiff_t D, float* y) noexcept {
  for_each_token(c, T, [&](std::ptrdiff_t t) { c.kernels.add(x + t * D, D, y + t * D); });
}

}  // namespace kl
