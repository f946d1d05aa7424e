#pragma once
// What the two forms of MLA have in common: kLanes queries, one per vector lane, meet a block of keys after the other.
//
// Both are written once for two element types, by which everything that is multiplied is named: float, and Bf16Pair for
// two neighbouring numbers in bf16.
#include <cmath>
#include <type_traits>

#include "layers/mla_forms.h"

namespace kl {

/// Is attention computed on bf16 numbers?
inline bool multiplies_bf16(const LayerSettings& settings) noexcept {
  return settings.compute == Compute::kAuto && settings.latents == LatentType::kBf16;
}

/// The kind of arithmetic attention is.
inline Arithmetic attention_arithmetic(const LayerContext& c) noexcept {
  return multiplies_bf16(c.settings) && c.kernels.has_bf16_dot ? Arithmetic::kBf16Dot : Arithmetic::kFma;
}

/// Calls f(element) with a value of the element type that these settings ask for.
template <class F>
void with_element(const LayerSettings& settings, F&& f) {
  if (multiplies_bf16(settings)) {
    f(Bf16Pair());
  } else {
    f(float());
  }
}

template <class Element>
inline constexpr bool kIsF32 = std::is_same_v<Element, float>;

/// Elements that n neighbouring numbers are.
template <class Element>
constexpr std::ptrdiff_t elements(std::ptrdiff_t n) {
  return kIsF32<Element> ? n : ceil_div(n, 2);
}

/// Widths of what meets: queries and keys are [C | P], values Dv numbers.
struct LaneDims {
  std::ptrdiff_t C, P, Dv;
  float scale;
};

/// Up to kLanes queries.
template <class Element>
struct LaneQueries {
  Element* q;           // [elements(C + P), kLanes]
  std::int64_t* limit;  // [kLanes] keys each may see: those at earlier positions; 0: no query in this lane

  /// For queries of these dims.
  LaneQueries(Arena& arena, const LaneDims& d)
      : q(arena.take<Element>(elements<Element>(d.C + d.P) * kLanes)), limit(arena.take<std::int64_t>(kLanes)) {}
};

/// Floats of scratch that load_queries() needs.
template <class Element>
constexpr std::ptrdiff_t load_floats(const LaneDims& d) {
  return kIsF32<Element> ? 0 : (d.C + d.P) * kLanes;
}

/// Lays `rows` queries out one per lane.  The caller sets their limits; those of the other lanes become 0.
/// Shapes    q, q_pe: `rows` pointers to [C] and [P]   scratch: load_floats().
template <class Element>
void load_queries(const Kernels& kernels, const LaneDims& d, const float* const* q, const float* const* q_pe,
                  std::ptrdiff_t rows, float* scratch, const LaneQueries<Element>& to) noexcept {
  float* lanes = scratch;
  if constexpr (kIsF32<Element>) lanes = to.q;
  kernels.pack_lanes(q, rows, d.C, lanes);
  kernels.pack_lanes(q_pe, rows, d.P, lanes + d.C * kLanes);
  if constexpr (!kIsF32<Element>) kernels.pair_rows({lanes, DType::kF32, kLanes, d.C + d.P, kLanes, to.q, kLanes});
  std::fill(to.limit + rows, to.limit + kLanes, 0);
}

/// A running softmax in scratch.
struct Softmax : AttendState {
  /// Over values of Dv numbers.
  Softmax(Arena& arena, std::ptrdiff_t Dv)
      : AttendState{
            .m = arena.take<float>(kLanes), .l = arena.take<float>(kLanes), .O = arena.take<float>(Dv * kLanes)} {}
};

/// No key seen yet, by a softmax over values of Dv numbers.
inline void clear(const AttendState& state, std::ptrdiff_t Dv) noexcept {
  std::fill_n(state.m, kLanes, -INFINITY);
  std::fill_n(state.l, kLanes, 0.0f);
  std::fill_n(state.O, Dv * kLanes, 0.0f);
}

/// Keys and values of neighbouring positions, within a block of the cache.
template <class Element>
struct KeyBlock;

template <>
struct KeyBlock<float> {
  std::int64_t position;  // of the first key
  std::ptrdiff_t n;       // keys
  const float* k;         // [n, C] rows k_stride apart
  std::ptrdiff_t k_stride;
  const float* k_pe;  // [n, P] rows pe_stride apart
  std::ptrdiff_t pe_stride;
  const float* v;  // [n, Dv] rows v_stride apart
  std::ptrdiff_t v_stride;
};

template <>
struct KeyBlock<Bf16Pair> {
  std::int64_t position;  // of the first key
  std::ptrdiff_t n;       // keys
  const Bf16Pair* k;      // [n, ceil((C + P) / 2)] rows k_stride apart
  std::ptrdiff_t k_stride;
  const Bf16Pair* v;           // [ceil(n / 2), Dv] pairs of keys
  const void* next = nullptr;  // what is read after this block
  std::ptrdiff_t next_bytes = 0;
  bool has_products = false;  // with the queries: they are in `scores` already
};

/// Adds a block of keys to the running softmax of the queries.
/// Shapes    scores: scratch [kKeyBlock, kLanes].
inline void attend(const Kernels& kernels, const LaneDims& d, const LaneQueries<float>& queries,
                   const KeyBlock<float>& keys, const AttendState& state, float* scores) noexcept {
  kernels.attend({.q = queries.q,
                  .q_pe = queries.q + d.C * kLanes,
                  .limit = queries.limit,
                  .k = keys.k,
                  .k_stride = keys.k_stride,
                  .k_pe = keys.k_pe,
                  .pe_stride = keys.pe_stride,
                  .v = keys.v,
                  .v_stride = keys.v_stride,
                  .C = d.C,
                  .P = d.P,
                  .Dv = d.Dv,
                  .n = keys.n,
                  .position = keys.position,
                  .scale = d.scale,
                  .state = state,
                  .scores = scores});
}

/// The same in bf16.
inline void attend(const Kernels& kernels, const LaneDims& d, const LaneQueries<Bf16Pair>& queries,
                   const KeyBlock<Bf16Pair>& keys, const AttendState& state, float* scores) noexcept {
  kernels.attend_bf16({.q = queries.q,
                       .limit = queries.limit,
                       .k = keys.k,
                       .k_stride = keys.k_stride,
                       .v = keys.v,
                       .C = d.C + d.P,
                       .Dv = d.Dv,
                       .n = keys.n,
                       .position = keys.position,
                       .scale = d.scale,
                       .state = state,
                       .scores = scores,
                       .next = keys.next,
                       .next_bytes = keys.next_bytes,
                       .has_products = keys.has_products});
}

/// `n` cached rows from position `pos` on, within one block, as [n, R + P] f32: where they lie, or brought into `scratch`.
inline const float* cached_rows(const Kernels& kernels, const MlaCache& cache, std::int64_t pos, std::ptrdiff_t n,
                                float* scratch) noexcept {
  if (cache.format().type == LatentType::kF32) return reinterpret_cast<const float*>(cache.row(pos));
  kernels.load_latents(cache.format(), cache.row(pos), n, scratch);
  return scratch;
}

/// Cached rows as pairs of bf16, from position `pos` on, pairs_stride() apart.  REQUIRES: a bf16 cache.
inline const Bf16Pair* cached_pairs(const MlaCache& cache, std::int64_t pos) noexcept {
  return reinterpret_cast<const Bf16Pair*>(cache.row(pos));
}

/// Words between these rows.
inline std::ptrdiff_t pairs_stride(const MlaCache& cache) noexcept {
  return cache.format().row_bytes() / static_cast<std::ptrdiff_t>(sizeof(Bf16Pair));
}

/// Pairs of a new token of `segment` and a key it sees, all of `num_keys` cached rows included.
constexpr double count_pairs(const Segment& segment, std::int64_t num_keys) {
  const auto count = static_cast<double>(segment.count);
  return count * static_cast<double>(num_keys) - count * (count - 1) / 2;
}

}  // namespace kl
