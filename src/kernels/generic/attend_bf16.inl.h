#pragma once
// Attention on bf16 numbers, and what brings numbers into the pairs it multiplies.  As attend.inl.h, with a lane per
// (query, head) row: scores lie transposed, the softmax is vertical arithmetic.
//
// Its two products run over pairs of channels, which lie side by side in a row, and over pairs of keys.  The weights of
// keys 2 s and 2 s + 1 are rounded into row s of the scores, over scores that were read already.
#include "kernels/generic/attend.inl.h"
#include "kernels/generic/pair_tile.inl.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

/// PairRowsFn for one type of x; `pair` makes a vector of pairs of two vectors.
template <class X, class Pair>
inline void pair_rows_of(const PairRowsArgs& a, Pair pair) {
  const X* x = static_cast<const X*>(a.x);
  Bf16Pair* dst = a.dst;
  std::ptrdiff_t row = 0;
  for (; row + 2 <= a.rows; row += 2, x += 2 * a.x_stride, dst += a.dst_stride) {
    for_each_vector(a.n, [&](std::ptrdiff_t c, auto lanes) {
      store_integers(dst + c, pair(load(x + c, lanes), load(x + a.x_stride + c, lanes)), lanes);
    });
  }
  if (row < a.rows) {
    for_each_vector(
        a.n, [&](std::ptrdiff_t c, auto lanes) { store_integers(dst + c, pair(load(x + c, lanes), zero()), lanes); });
  }
}

/// PairRowsFn.
void pair_rows(const PairRowsArgs& a) noexcept {
  if (a.type == DType::kF32) pair_rows_of<float>(a, [](F32 even, F32 odd) { return round_pair(even, odd); });
  if (a.type == DType::kBF16) pair_rows_of<Bf16>(a, [](F32 even, F32 odd) { return join_pair(even, odd); });
}

/// All panels of outputs; not inlined, for FlushSubnormals.
template <class Pairs>
[[gnu::noinline]] void multiply_panels(const MatmulBf16Args& a) {
  const std::ptrdiff_t steps = (a.K + 1) / 2;
  NothingAhead nothing;
  for (std::ptrdiff_t n = 0; n < a.N; n += kLanes) {
    for (std::ptrdiff_t lane = 0; lane < kLanes; lane += kGroup) {
      float* y = a.y + n + lane;
      pair_tiles<Pairs, kRegisterRows, 2>(a.M, RowPairs{a.x, a.x_stride}, a.w + n * steps + lane, kLanes, steps,
                                          nothing, [&](std::ptrdiff_t m, const F32(&sum)[2]) {
                                            for (int v = 0; v < 2; ++v) store(y + m * a.y_stride + v * kWidth, sum[v]);
                                          });
    }
  }
}

/// MatmulBf16Fn.
template <class Pairs>
void matmul_bf16(const MatmulBf16Args& a) noexcept {
  const FlushSubnormals flush;
  multiply_panels<Pairs>(a);
}

/// Products q.k of one vector of lanes become pairs of weights; m and l are updated; returns what O must be multiplied
/// with.  As softmax_weights, but what is added to l is what multiplies the values: the rounded weight.
inline F32 softmax_pairs(const AttendBf16Args& a, std::ptrdiff_t lane, F32 visible) {
  float *scores = a.scores + lane, *m = a.state.m + lane, *l = a.state.l + lane;
  const F32 old_max = load(m), scale = broadcast(a.scale);
  const F32 new_max = mask_products(scores, a.n, visible, scale, old_max);
  const F32 shift = shift_of(new_max), keep = exp(old_max - shift);
  const auto weight = [&](std::ptrdiff_t i) { return exp(fma(load(scores + i * kLanes), scale, zero() - shift)); };
  F32 total = load(l) * keep;
  for (std::ptrdiff_t fold = 0; fold < a.n; fold += kTileFold) {
    const std::ptrdiff_t end = a.n - fold < kTileFold ? a.n : fold + kTileFold;
    F32 sum = zero();
    for (std::ptrdiff_t i = fold; i < end; i += 2) {
      const I32 pair = round_pair(weight(i), i + 1 < end ? weight(i + 1) : zero());
      store_integers(scores + i / 2 * kLanes, pair);
      sum = sum + even_of(pair) + odd_of(pair);
    }
    total = total + sum;
  }
  store(m, new_max);
  store(l, total);
  return keep;
}

/// As attend(); not inlined, for FlushSubnormals.
template <class Pairs>
[[gnu::noinline]] void attend_pairs(const AttendBf16Args& a) {
  float visible[kLanes];
  count_visible(a.limit, a.position, a.n, visible);
  NothingAhead nothing;
  LinesAhead next(a.next, a.next_bytes, a.v);
  for (std::ptrdiff_t lane = 0; lane < kLanes; lane += kGroup) {
    float* scores = a.scores + lane;
    const auto store_products = [&](std::ptrdiff_t key, const F32(&sum)[2]) {
      for (int v = 0; v < 2; ++v) store(scores + key * kLanes + v * kWidth, sum[v]);
    };
    if (!a.has_products) {
      pair_tiles<Pairs, kRegisterRows, 2>(a.n, RowPairs{a.k, a.k_stride}, a.q + lane, kLanes, (a.C + 1) / 2, nothing,
                                          store_products);
    }
    F32 keep[2];
    for (int v = 0; v < 2; ++v) keep[v] = softmax_pairs(a, lane + v * kWidth, load(visible + lane + v * kWidth));
    const auto add_to_output = [&](std::ptrdiff_t d, const F32(&sum)[2]) {
      float* O = a.state.O + d * kLanes + lane;
      for (int v = 0; v < 2; ++v) store(O + v * kWidth, fma(load(O + v * kWidth), keep[v], sum[v]));
    };
    pair_tiles<Pairs, kRegisterRows, 2>(a.Dv, ColumnPairs{a.v, a.Dv}, reinterpret_cast<const Bf16Pair*>(scores), kLanes,
                                        (a.n + 1) / 2, next, add_to_output);
  }
}

/// AttendBf16Fn.
template <class Pairs>
void attend_bf16(const AttendBf16Args& a) noexcept {
  const FlushSubnormals flush;
  attend_pairs<Pairs>(a);
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
