#include "kernels/reference/ops.h"

namespace kl::reference {

// y_t[c] = silu( sum_j w[j][c] x_{t-W+1+j}[c] )
void short_conv(const ShortConvArgs& a, std::ptrdiff_t c0, std::ptrdiff_t c1) noexcept {
  const std::ptrdiff_t past = a.W - 1;
  // Row i of the stream; negative rows are the ones the state remembers.
  const auto row = [&](std::ptrdiff_t i) {
    return i < 0 ? a.state + (past + i) * a.state_stride : a.x + i * a.x_stride;
  };

  for (std::ptrdiff_t t = 0; t < a.T; ++t) {
    for (std::ptrdiff_t c = c0; c < c1; ++c) {
      double z = 0;
      for (std::ptrdiff_t j = 0; j < a.W; ++j) z += double{a.w[j * a.w_stride + c]} * row(t - past + j)[c];
      a.y[t * a.y_stride + c] = static_cast<float>(silu(z));
    }
  }
  for (std::ptrdiff_t r = 0; r < past; ++r) {  // ascending: a row of the state is read before it is overwritten
    for (std::ptrdiff_t c = c0; c < c1; ++c) a.state[r * a.state_stride + c] = row(a.T - past + r)[c];
  }
}

}  // namespace kl::reference
