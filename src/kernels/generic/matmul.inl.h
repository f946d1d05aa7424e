#pragma once
// y[m][n] = sum_k W[n][k] x[m][k]: rows of weights and rows of tokens are both contiguous in k, so every output is a
// dot product and nothing is packed.
//
// The sum, which defines the bits and is the same for every M, tile and instruction set:
//   1. k = 0, 16, 32, ..: lane j of 16 adds W[n][k + j] x[m][k + j] by FMA, for at most kFold inputs: one partial sum;
//   2. partial sums are added up, lane by lane, in ascending k (two levels: less than half the rounding error of one);
//   3. the last K mod 16 inputs, padded with zeros, are a partial sum of their own;
//   4. the 16 lanes are added by the tree of sum_lanes.
//
// Blocking.  RAM wants the weights as one ascending stream (docs/kernels.md).
//   one token     rows one after the other, no prefetch: the order is the best there is
//   more tokens   tiles of kTileRows rows x T tokens, T <= kRegisterTokens, whose partial sums stay in registers.  A
//                 panel of rows stays in the L2 cache while all tokens pass by; meanwhile the next panel is pulled in,
//                 in ascending order, a few lines at a time.
#include "kernels/generic/vectors.inl.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

constexpr std::ptrdiff_t kFold = 256;      // inputs in one partial sum
constexpr std::ptrdiff_t kTileRows = 4;    // rows of weights in a register tile
constexpr std::ptrdiff_t kPanelRows = 64;  // rows of weights that should stay in L2: 64 x 2304 bf16 = 295 KB

/// The last K mod 16 elements of up to N rows, padded to 16 with zeros.
template <class T, int N>
struct PaddedTails {
  T rows[N][16];

  /// Copies the last `tail` < 16 elements of n rows.
  PaddedTails(const T* first, std::ptrdiff_t stride, std::ptrdiff_t n, std::ptrdiff_t tail) {
    __builtin_memset(rows, 0, sizeof rows);
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      __builtin_memcpy(rows[i], first + i * stride, static_cast<std::size_t>(tail) * sizeof(T));
    }
  }
};

/// totals[r][t] += one partial sum of `steps` x 16 inputs, for R rows and T tokens; on the way as many bytes as the
/// tile reads are pulled into L2 from `ahead`.  Not inlined: with more live values around it sums would be spilled.
template <int R, int T, class W>
[[gnu::noinline]] void dot_tile(const W* w, std::ptrdiff_t w_stride, const float* x, std::ptrdiff_t x_stride,
                                std::ptrdiff_t steps, const char* ahead, float* totals) {
  constexpr std::ptrdiff_t kStepBytes = R * 16 * sizeof(W);
  for (int part = 0; part < kParts; ++part) {
    F32 sum[R][T];
    for (int r = 0; r < R; ++r) {
      for (int t = 0; t < T; ++t) sum[r][t] = zero();
    }
    const W* w_k = w + part * kWidth;
    const float* x_k = x + part * kWidth;
    const char* next = ahead + part * 64;
    for (std::ptrdiff_t s = 0; s < steps; ++s, w_k += 16, x_k += 16, next += kStepBytes) {
#pragma GCC unroll 8
      for (std::ptrdiff_t line = 0; line < kStepBytes; line += 64 * kParts) __builtin_prefetch(next + line, 0, 2);
      F32 x_t[T];
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) x_t[t] = load(x_k + t * x_stride);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const F32 w_r = load(w_k + r * w_stride);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) sum[r][t] = fma(w_r, x_t[t], sum[r][t]);
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int t = 0; t < T; ++t) {
        float* total = totals + (r * T + t) * 16 + part * kWidth;
        store(total, load(total) + sum[r][t]);
      }
    }
  }
}

/// A panel of weight rows, and the bytes to pull into L2 while it is used.
template <class W>
struct Panel {
  const W* w;
  std::ptrdiff_t stride, rows;
  const char* ahead;  // advances; nullptr: nothing to pull
};

/// One partial sum for rows [r, ..) of a panel, R at a time while there are that many; returns the row after the last.
template <int R, int T, class W>
inline std::ptrdiff_t dot_rows(Panel<W>& p, std::ptrdiff_t r, const W* w, const float* x, std::ptrdiff_t x_stride,
                               std::ptrdiff_t steps, float* totals) {
  for (; r + R <= p.rows; r += R) {
    const W* w_r = w + r * p.stride;
    const char* ahead = p.ahead ? p.ahead : reinterpret_cast<const char*>(w_r);
    dot_tile<R, T>(w_r, p.stride, x, x_stride, steps, ahead, totals + r * T * 16);
    if (p.ahead) p.ahead += steps * 16 * R * static_cast<std::ptrdiff_t>(sizeof(W));
  }
  return r;
}

/// One partial sum for all rows of a panel: tiles of kTileRows, then row by row.
template <int T, class W>
inline void dot_panel(Panel<W>& p, const W* w, const float* x, std::ptrdiff_t x_stride, std::ptrdiff_t steps,
                      float* totals) {
  const std::ptrdiff_t rest = dot_rows<kTileRows, T>(p, 0, w, x, x_stride, steps, totals);
  dot_rows<1, T>(p, rest, w, x, x_stride, steps, totals);
}

/// Tokens [m, m + T) for the rows of a panel, which are rows n.. of W.
template <int T, class W>
[[gnu::noinline]] void matmul_tokens(const MatmulArgs& a, std::ptrdiff_t m, std::ptrdiff_t n, Panel<W>& p) {
  alignas(64) float totals[kPanelRows * T * 16];
  __builtin_memset(totals, 0, static_cast<std::size_t>(p.rows * T * 16) * sizeof(float));

  const float* x = a.x + m * a.x_stride;
  const std::ptrdiff_t whole = a.w.K / 16 * 16, tail = a.w.K - whole;
  for (std::ptrdiff_t k = 0; k < whole; k += kFold) {
    const std::ptrdiff_t steps = (whole - k < kFold ? whole - k : kFold) / 16;
    dot_panel<T>(p, p.w + k, x + k, a.x_stride, steps, totals);
  }
  if (tail > 0) {
    const PaddedTails<W, kPanelRows> w_tails(p.w + whole, p.stride, p.rows, tail);
    const PaddedTails<float, T> x_tails(x + whole, a.x_stride, T, tail);
    Panel<W> tails{w_tails.rows[0], 16, p.rows, nullptr};
    dot_panel<T>(tails, tails.w, x_tails.rows[0], 16, 1, totals);
  }

  for (std::ptrdiff_t r = 0; r < p.rows; ++r) {
    for (int t = 0; t < T; ++t) {
      F32 lanes[kParts];
      for (int part = 0; part < kParts; ++part) lanes[part] = load(totals + (r * T + t) * 16 + part * kWidth);
      a.y[(m + t) * a.y_stride + n + r] = sum_lanes(lanes);
    }
  }
}

/// matmul_tokens<T> for a T known only now.
template <int T = kRegisterTokens, class W>
inline void matmul_up_to(std::ptrdiff_t tokens, const MatmulArgs& a, std::ptrdiff_t m, std::ptrdiff_t n, Panel<W>& p) {
  if (tokens == T) return matmul_tokens<T>(a, m, n, p);
  if constexpr (T > 1) matmul_up_to<T - 1>(tokens, a, m, n, p);
}

/// More than one token: panel after panel of rows, each meeting all tokens; one tile of tokens needs no panel.
template <class W>
void matmul_many_tokens(const MatmulArgs& a, std::ptrdiff_t n0, std::ptrdiff_t n1) {
  const std::ptrdiff_t tiles = (a.M + kRegisterTokens - 1) / kRegisterTokens;
  const std::ptrdiff_t most = tiles == 1 ? kTileRows : kPanelRows;
  for (std::ptrdiff_t n = n0, rows; n < n1; n += rows) {
    rows = n1 - n < most ? n1 - n : most;
    Panel<W> panel{static_cast<const W*>(a.w.data) + n * a.w.stride, a.w.stride, rows, nullptr};
    for (std::ptrdiff_t tile = 0; tile < tiles; ++tile) {  // of equal size, or one token less
      const std::ptrdiff_t m = a.M * tile / tiles, end = a.M * (tile + 1) / tiles;
      const bool next_panel_is_ours = tile + 1 == tiles && n + rows < n1;
      if (next_panel_is_ours) panel.ahead = reinterpret_cast<const char*>(panel.w + rows * a.w.stride);
      matmul_up_to(end - m, a, m, n, panel);
    }
  }
}

/// total += one partial sum of 16 `steps` inputs of one row and one token.
template <class W>
inline void add_partial_sum(const W* w, const float* x, std::ptrdiff_t steps, F32 (&total)[kParts]) {
  F32 sum[kParts];
  for (F32& lanes : sum) lanes = zero();
  for (std::ptrdiff_t s = 0; s < steps; ++s, w += 16, x += 16) {
    for (int part = 0; part < kParts; ++part)
      sum[part] = fma(load(w + part * kWidth), load(x + part * kWidth), sum[part]);
  }
  for (int part = 0; part < kParts; ++part) total[part] = total[part] + sum[part];
}

/// One token: each row is read once from start to end, row after row.
template <class W>
void matmul_one_token(const MatmulArgs& a, std::ptrdiff_t n0, std::ptrdiff_t n1) {
  const std::ptrdiff_t whole = a.w.K / 16 * 16, tail = a.w.K - whole;
  const PaddedTails<float, 1> x_tail(a.x + whole, 0, 1, tail);
  for (std::ptrdiff_t n = n0; n < n1; ++n) {
    const W* w = static_cast<const W*>(a.w.data) + n * a.w.stride;
    F32 total[kParts];
    for (F32& lanes : total) lanes = zero();
    std::ptrdiff_t k = 0;
    for (; k + kFold <= whole; k += kFold) add_partial_sum(w + k, a.x + k, kFold / 16, total);
    if (k < whole) add_partial_sum(w + k, a.x + k, (whole - k) / 16, total);
    if (tail > 0) {
      const PaddedTails<W, 1> w_tail(w + whole, 0, 1, tail);
      add_partial_sum(w_tail.rows[0], x_tail.rows[0], 1, total);
    }
    a.y[n] = sum_lanes(total);
  }
}

/// MatmulFn for row-major weights.
void matmul_rows(const MatmulArgs& a, std::ptrdiff_t n0, std::ptrdiff_t n1) {
  with_weight_type(a.w.type, [&](auto tag) {
    if (a.M == 1) return matmul_one_token<decltype(tag)>(a, n0, n1);
    matmul_many_tokens<decltype(tag)>(a, n0, n1);
  });
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
