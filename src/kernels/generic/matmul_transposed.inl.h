#pragma once
// y[m][k] = sum_n x[m][n] W[n][k]: rows of W are contiguous in k, so k runs over the lanes and x is broadcast.
#include "kernels/generic/broadcast_tile.inl.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

/// Columns [k, k + V vectors), all tokens.
template <int R, int V, class W, class Lanes>
inline void transposed_columns(const MatmulArgs& a, std::ptrdiff_t k, Lanes lanes) {
  const W* w = static_cast<const W*>(a.w.data) + k;
  broadcast_rows<R, V>(a.M, {a.x, a.x_stride, 1}, w, a.w.stride, a.w.N, lanes,
                       [&](std::ptrdiff_t m, const F32(&sum)[V]) {
                         for (int v = 0; v < V; ++v) store(a.y + m * a.y_stride + k + v * kWidth, sum[v], lanes);
                       });
}

/// MatmulTransposedFn.
void matmul_transposed(const MatmulArgs& a) noexcept {
  with_weight_type(a.w.type, [&](auto tag) {
    using W = decltype(tag);
    std::ptrdiff_t k = 0;
    for (; k + 2 * kWidth <= a.w.K; k += 2 * kWidth) transposed_columns<kRegisterRows, 2, W>(a, k, Full{});
    for (; k + kWidth <= a.w.K; k += kWidth) transposed_columns<1, 1, W>(a, k, Full{});
    if (k < a.w.K) transposed_columns<1, 1, W>(a, k, Partial{a.w.K - k});
  });
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
