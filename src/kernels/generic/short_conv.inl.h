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

void short_conv(const ShortConvArgs& a, std::ptrdiff_t c0, std::ptrdiff_t c1) noexcept {
  const std::ptrdiff_t C = a.state_stride, past = a.W - 1;
  for (std::ptrdiff_t t = 0; t < a.T; ++t) {
    for_each_vector(c1 - c0, [&](std::ptrdiff_t i, auto lanes) {
      const std::ptrdiff_t c = c0 + i;
      F32 z = zero();
      for (std::ptrdiff_t j = 0; j < a.W; ++j) {
        z = fma(load(a.w + j * C + c, lanes), load(stream_row(a, t - past + j) + c, lanes), z);
      }
      store(a.y + t * a.y_stride + c, silu(z), lanes);
    });
  }
  for (std::ptrdiff_t r = 0; r < past; ++r) {  // ascending: a row of the state is read before it is overwritten
    const std::size_t bytes = static_cast<std::size_t>(c1 - c0) * sizeof(float);
    __builtin_memmove(a.state + r * C + c0, stream_row(a, a.T - past + r) + c0, bytes);
  }
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
