#pragma once
// Attention with one (query, head) row per vector lane.  Keys, channels and values are broadcast, scores are kept
// transposed, scores[key][lane], so the softmax is plain vertical arithmetic and no operation crosses lanes: a lane
// cannot see which others share the call.
//
// The sums, which define the bits: a product q.k is the sum over channels plus the sum over pe channels, O adds the
// values of a block of keys, each as broadcast_tile adds; l adds weights in partial sums of kTileFold.  A masked score
// is -inf and its weight exactly 0, so a partly filled block gives the bits of the same block seen later, when it is
// full but masked (for finite values).
#include "kernels/generic/broadcast_tile.inl.h"
#include "kernels/generic/functions.inl.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

constexpr std::ptrdiff_t kGroup = 2 * kWidth;  // lanes in a register tile: 32 or 16 of the kLanes

/// The largest score so far as something that may be subtracted: finite if no key was visible yet.
inline F32 shift_of(F32 m) { return max(broadcast(-__FLT_MAX__), m); }

/// scores[key][lane] = q.k + q_pe.k_pe for the two vectors of lanes from `lane` on.
inline void products(const AttendArgs& a, std::ptrdiff_t lane) {
  const auto row_of = [&](std::ptrdiff_t key) { return a.scores + key * kLanes + lane; };
  broadcast_rows<kRegisterRows, 2>(a.n, {a.k, a.k_stride, 1}, a.q + lane, kLanes, a.C, Full{},
                                   [&](std::ptrdiff_t key, const F32(&sum)[2]) {
                                     for (int v = 0; v < 2; ++v) store(row_of(key) + v * kWidth, sum[v]);
                                   });
  if (a.P == 0) return;
  broadcast_rows<kRegisterRows, 2>(a.n, {a.k_pe, a.pe_stride, 1}, a.q_pe + lane, kLanes, a.P, Full{},
                                   [&](std::ptrdiff_t key, const F32(&sum)[2]) {
                                     for (int v = 0; v < 2; ++v) {
                                       float* s = row_of(key) + v * kWidth;
                                       store(s, load(s) + sum[v]);
                                     }
                                   });
}

/// Masks the products q.k of one vector of lanes with -inf; returns the largest score so far, m included.
inline F32 mask_products(float* scores, std::ptrdiff_t n, F32 visible, F32 scale, F32 m) {
  const F32 masked = broadcast(-__builtin_inff());
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    const F32 qk = select_greater(visible, broadcast(static_cast<float>(i)), load(scores + i * kLanes), masked);
    store(scores + i * kLanes, qk);
    m = max(m, qk * scale);
  }
  return m;
}

/// Products q.k of one vector of lanes become weights; m and l are updated; returns what O must be multiplied with.
///
/// The exponent is one FMA of the product, scale q.k - shift: a score is never rounded by itself (the weights of
/// attention carry eps times the size of their scores).
inline F32 softmax_weights(const AttendArgs& a, std::ptrdiff_t lane, F32 visible) {
  float *scores = a.scores + lane, *m = a.state.m + lane, *l = a.state.l + lane;
  const F32 old_max = load(m), scale = broadcast(a.scale);
  const F32 new_max = mask_products(scores, a.n, visible, scale, old_max);
  const F32 shift = shift_of(new_max), keep = exp(old_max - shift);
  F32 total = load(l) * keep;
  for (std::ptrdiff_t fold = 0; fold < a.n; fold += kTileFold) {
    const std::ptrdiff_t end = a.n - fold < kTileFold ? a.n : fold + kTileFold;
    F32 sum = zero();
    for (std::ptrdiff_t i = fold; i < end; ++i) {
      const F32 p = exp(fma(load(scores + i * kLanes), scale, zero() - shift));
      store(scores + i * kLanes, p);
      sum = sum + p;
    }
    total = total + sum;
  }
  store(m, new_max);
  store(l, total);
  return keep;
}

/// O[d][lane] = O[d][lane] keep + sum over keys of weight v[key][d].
inline void add_values(const AttendArgs& a, std::ptrdiff_t lane, const F32 (&keep)[2]) {
  broadcast_rows<kRegisterRows, 2>(a.Dv, {a.v, 1, a.v_stride}, a.scores + lane, kLanes, a.n, Full{},
                                   [&](std::ptrdiff_t d, const F32(&sum)[2]) {
                                     float* O = a.state.O + d * kLanes + lane;
                                     for (int v = 0; v < 2; ++v) {
                                       store(O + v * kWidth, fma(load(O + v * kWidth), keep[v], sum[v]));
                                     }
                                   });
}

/// Keys of this block a lane may see: the first so many.
inline void count_visible(const std::int64_t* limit, std::int64_t position, std::ptrdiff_t n,
                          float (&visible)[kLanes]) {
  for (std::ptrdiff_t lane = 0; lane < kLanes; ++lane) {
    const std::int64_t keys = limit[lane] - position;
    visible[lane] = static_cast<float>(keys < 0 ? 0 : keys > n ? n : keys);
  }
}

/// AttendFn: products, weights and values, kGroup lanes at a time.
void attend(const AttendArgs& a) noexcept {
  float visible[kLanes];
  count_visible(a.limit, a.position, a.n, visible);
  for (std::ptrdiff_t lane = 0; lane < kLanes; lane += kGroup) {
    products(a, lane);
    F32 keep[2];
    for (int v = 0; v < 2; ++v) {
      const std::ptrdiff_t at = lane + v * kWidth;
      keep[v] = softmax_weights(a, at, load(visible + at));
    }
    add_values(a, lane, keep);
  }
}

/// AttendMergeFn.
void attend_merge(const AttendState& into, const AttendState& part, std::ptrdiff_t Dv) noexcept {
  for (std::ptrdiff_t lane = 0; lane < kLanes; lane += kWidth) {
    const F32 m_into = load(into.m + lane), m_part = load(part.m + lane), m = max(m_into, m_part);
    const F32 shift = shift_of(m), keep = exp(m_into - shift), take = exp(m_part - shift);
    store(into.m + lane, m);
    store(into.l + lane, fma(load(into.l + lane), keep, load(part.l + lane) * take));
    for (std::ptrdiff_t d = 0; d < Dv; ++d) {
      float* O = into.O + d * kLanes + lane;
      store(O, fma(load(O), keep, load(part.O + d * kLanes + lane) * take));
    }
  }
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
