#pragma once
// Short causal convolution and SiLU: lanes are channels, taps are added by FMA from the oldest to the newest.  Token by
// token: keeping a strip of channels in registers over all tokens would walk memory with the stride of a row (slower).
#include "kernels/generic/functions.inl.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

/// Row i of the stream; negative rows are the ones the state remembers.
inline const float* stream_row(const ShortConvArgs& a, std::ptrdiff_t i) {
  return i < 0 ? a.state + (a.W - 1 + i) * a.state_stride : a.x + i * a.x_stride;
}

/// One token.  The usual four taps keep their row pointers in registers; kTaps = 0 is any number of taps.
template <int kTaps>
inline void convolve(const ShortConvArgs& a, std::ptrdiff_t t, std::ptrdiff_t c0, std::ptrdiff_t c1) {
  const std::ptrdiff_t first = t - (a.W - 1);
  const float* rows[kTaps > 0 ? kTaps : 1];
  for (int j = 0; j < kTaps; ++j) rows[j] = stream_row(a, first + j);
  for_each_vector(c1 - c0, [&](std::ptrdiff_t i, auto lanes) {
    const std::ptrdiff_t c = c0 + i;
    F32 z = zero();
    for (std::ptrdiff_t j = 0; j < (kTaps > 0 ? kTaps : a.W); ++j) {
      const float* row = kTaps > 0 ? rows[j] : stream_row(a, first + j);
      z = fma(load(a.w + j * a.w_stride + c, lanes), load(row + c, lanes), z);
    }
    store(a.y + t * a.y_stride + c, silu(z), lanes);
  });
}

/// ShortConvFn: all tokens, then the last W - 1 rows become the state.
void short_conv(const ShortConvArgs& a, std::ptrdiff_t c0, std::ptrdiff_t c1) noexcept {
  for (std::ptrdiff_t t = 0; t < a.T; ++t) {
    if (t + kRowsAhead < a.T) prefetch_row(a.x + (t + kRowsAhead) * a.x_stride + c0, c1 - c0);
    a.W == 4 ? convolve<4>(a, t, c0, c1) : convolve<0>(a, t, c0, c1);
  }
  for (std::ptrdiff_t r = 0; r < a.W - 1; ++r) {  // ascending: a row of the state is read before it is overwritten
    const std::size_t bytes = static_cast<std::size_t>(c1 - c0) * sizeof(float);
    __builtin_memmove(a.state + r * a.state_stride + c0, stream_row(a, a.T - (a.W - 1) + r) + c0, bytes);
  }
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
