#pragma once
#include "layers/context.h"

namespace kl {

/// ShortConv1d: causal depthwise convolution over time, then SiLU; one each for q, k and v of a KDA layer.
///
///     y_t[c] = silu( sum_{j<W} w[j][c] x_{t-W+1+j}[c] )
///
/// Role      lets each channel see its last W tokens before the delta rule does: keys can depend on local order.
///           With MLA unrotated, this and the decay of KDA are where the model gets its sense of position.
/// State     the last W-1 raw inputs of each channel, oldest first: what a continued sequence still needs.
/// Shapes    x, y: [T, n]   w: [W, C] tap-major   state: [W-1, n], rows state_stride apart; n channels of the C.
/// Source    modeling_kimi.py KimiDeltaAttention; ShortConvolution of fla.
class ShortConv1d {
 public:
  /// T tokens of one sequence; w and state point at the first of the n channels.  x and y do not overlap.
  static void forward(const Kernels& k, const float* w, std::ptrdiff_t W, std::ptrdiff_t C, float* state,
                      std::ptrdiff_t state_stride, const float* x, std::ptrdiff_t x_stride, float* y, std::ptrdiff_t T,
                      std::ptrdiff_t n) noexcept {
    k.short_conv({.w = w,
                  .w_stride = C,
                  .W = W,
                  .state = state,
                  .state_stride = state_stride,
                  .x = x,
                  .x_stride = x_stride,
                  .y = y,
                  .y_stride = n,
                  .T = T},
                 0, n);
  }
};

}  // namespace kl
