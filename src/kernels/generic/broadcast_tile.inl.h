#pragma once
// The micro-kernel of everything whose vector lanes are independent outputs:
//
//     out[row][lane] = sum over steps of A(row, step) B[step][lane]
//
// The sum: FMA in ascending steps, in partial sums of kTileFold terms, which are added up in order.  A value of A is
// broadcast to all lanes, so no sum ever crosses lanes.  Attention uses it for scores (rows = keys, steps = channels)
// and for values (rows = channels, steps = keys), matmul_transposed for tokens x columns.
#include "kernels/generic/vectors.inl.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

/// Terms in one partial sum; partial sums are added up in order (two levels: less than half the rounding error of one).
constexpr std::ptrdiff_t kTileFold = 32;

/// A(row, step) = data[row * row_stride + step * step_stride].
struct Broadcasts {
  const float* data;
  std::ptrdiff_t row_stride, step_stride;
};

/// R rows x V vectors of partial sums in registers; out(row, sums) receives each row.  Not inlined: with more live
/// values around it partial sums would be kept in memory.
template <int R, int V, class W, class Lanes, class Out>
[[gnu::noinline]] void broadcast_tile(Broadcasts a, const W* b, std::ptrdiff_t b_stride, std::ptrdiff_t steps,
                                      Lanes lanes, const Out& out) {
  F32 total[R][V];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) total[r][v] = zero();
  }
  const float* a_s = a.data;
  for (std::ptrdiff_t left = steps; left > 0; left -= kTileFold) {
    F32 sum[R][V];
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < V; ++v) sum[r][v] = zero();
    }
    const std::ptrdiff_t terms = left < kTileFold ? left : kTileFold;
    for (std::ptrdiff_t s = 0; s < terms; ++s, a_s += a.step_stride, b += b_stride) {
      F32 b_v[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) b_v[v] = load(b + v * kWidth, lanes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const F32 a_r = broadcast(a_s[r * a.row_stride]);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[r][v] = fma(a_r, b_v[v], sum[r][v]);
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < V; ++v) total[r][v] = total[r][v] + sum[r][v];
    }
  }
  for (int r = 0; r < R; ++r) out(r, total[r]);
}

/// All rows: R at a time, then fewer at a time.
template <int R, int V, class W, class Lanes, class Out>
inline void broadcast_rows(std::ptrdiff_t rows, Broadcasts a, const W* b, std::ptrdiff_t b_stride, std::ptrdiff_t steps,
                           Lanes lanes, const Out& out, std::ptrdiff_t row = 0) {
  for (; row + R <= rows; row += R) {
    const Broadcasts a_row{a.data + row * a.row_stride, a.row_stride, a.step_stride};
    broadcast_tile<R, V>(
        a_row, b, b_stride, steps,
        lanes, [&](int r, const F32(&sum)[V]) __attribute__((always_inline)) { out(row + r, sum); });
  }
  if constexpr (R > 1) {
    broadcast_rows<(R > 8 ? 8 : R > 4 ? 4 : R / 2), V>(rows, a, b, b_stride, steps, lanes, out, row);
  }
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
