#pragma once
// The two forms of MLA's core: queries and cached latents in, per-head outputs out.  Algebra: mla_attention.h.
#include <span>

#include "layers/context.h"
#include "layers/mla_cache.h"
#include "weights/weights.h"

namespace kl {

/// Dims of the attention core and the tensors both forms work on.
struct MlaCore {
  std::ptrdiff_t H, N, P, R, V;  // heads, nope dims, shared dims, latent rank, value dims
  float scale;                   // (N + P)^-1/2
  const float* q;                // [T, H, N + P]
  float* o;                      // [T, H, V]
};

/// Is attention over this cache computed on bf16 numbers?
inline bool multiplies_bf16(const LayerContext& c, const MlaCache& cache) noexcept {
  return c.integers && cache.format().type == LatentType::kBf16;
}

/// The kind of arithmetic that is.
inline Arithmetic arithmetic_of(const LayerContext& c, const MlaCache& cache) noexcept {
  return multiplies_bf16(c, cache) && c.kernels.has_bf16_dot ? Arithmetic::kBf16Dot : Arithmetic::kFma;
}

/// Cached rows as pairs of bf16, from position `pos` on.  REQUIRES: a bf16 cache.
inline const Bf16Pair* cached_pairs(const MlaCache& cache, std::int64_t pos) noexcept {
  return reinterpret_cast<const Bf16Pair*>(cache.row(pos));
}

/// Words between these rows.
inline std::ptrdiff_t pairs_stride(const MlaCache& cache) noexcept {
  return cache.format().row_bytes() / static_cast<std::ptrdiff_t>(sizeof(Bf16Pair));
}

/// `n` cached rows from position `pos` on, within one block, as [n, R + P] f32: where they lie, or brought into `scratch`.
inline const float* cached_rows(const Kernels& kernels, const MlaCache& cache, std::int64_t pos, std::ptrdiff_t n,
                                float* scratch) noexcept {
  if (cache.format().type == LatentType::kF32) return reinterpret_cast<const float*>(cache.row(pos));
  kernels.load_latents(cache.format(), cache.row(pos), n, scratch);
  return scratch;
}

/// Pairs of a new token of `segment` and a key it sees, all of `num_keys` cached rows included.
constexpr double count_pairs(const Segment& segment, std::int64_t num_keys) {
  const auto count = static_cast<double>(segment.count);
  return count * static_cast<double>(num_keys) - count * (count - 1) / 2;
}

/// The absorbed form for any number of sequences.
///
///     q~_h = W_UK,h^T q_n,h
///     u_h = sum_s softmax_s( scale (q~_h . c_s + q_p,h . k_p,s) ) c_s
///     o_h = W_UV,h u_h
///
/// A bf16 cache meets queries and weights p rounded to bf16 (multiplies_bf16).
///
/// Work is split by kLanes (token, head) rows; where these are too few for the threads, by stretches of keys.
class MlaAbsorbed {
 public:
  /// Takes its scratch from `arena`: it lasts until the caller's ArenaScope ends.
  MlaAbsorbed(const MlaCore& core, Arena& arena, std::ptrdiff_t T, int workers);

  /// Segments s with selected[s] set.  Their new tokens are in the caches already.
  void forward(const MlaWeights& w, const LayerContext& c, std::span<const Segment> segments, const bool* selected,
               std::span<MlaCache* const> caches) noexcept;

 private:
  struct Worker;
  Worker worker(int index) const noexcept;
  void count(const MlaWeights& w, const LayerContext& c, std::span<const Segment> segments, const bool* selected,
             std::span<MlaCache* const> caches) const noexcept;
  template <class F>
  void for_each_run(std::span<const Segment> segments, const bool* selected, F&& f) noexcept;
  void attend_group(const LayerContext& c, const Segment& segment, const MlaCache& cache, std::ptrdiff_t group,
                    const Worker& scratch) noexcept;
  void attend_group_split(const LayerContext& c, const Segment& segment, const MlaCache& cache,
                          std::ptrdiff_t group) noexcept;

  MlaCore core_;
  float* latent_;    // [T, H, R] queries in latent space, then what they read: sum_s p_s c_s
  float* scratch_;   // [workers] Worker buffers
  float* partials_;  // [kMaxPartials] softmax states
};

/// The expanded form for one sequence of the pass.
///
///     k_h,s = [W_UK,h c_s | k_p,s],   v_h,s = W_UV,h c_s       block by block
///     o_h = sum_s softmax_s( scale q_h . k_h,s ) v_h,s
///
/// Over a bf16 cache W_UK, W_UV, q, k, v and the weights of the softmax are rounded to bf16 (multiplies_bf16).
///
/// Work is split by heads: one task expands each block of keys once and lets all queries of its head meet it.
class MlaExpanded {
 public:
  /// Takes its scratch from `arena`: it lasts until the caller's ArenaScope ends.
  MlaExpanded(const MlaCore& core, Arena& arena, std::ptrdiff_t T, int workers);

  /// The new tokens of `segment` are in the cache already.
  void forward(const MlaWeights& w, const LayerContext& c, const Segment& segment, const MlaCache& cache) noexcept;

 private:
  void attend_head(const MlaWeights& w, const LayerContext& c, const Segment& segment, const MlaCache& cache,
                   std::ptrdiff_t head, float* scratch) noexcept;
  void attend_head_bf16(const MlaWeights& w, const LayerContext& c, const Segment& segment, const MlaCache& cache,
                        std::ptrdiff_t head, float* scratch) noexcept;
  static std::ptrdiff_t bf16_floats(const MlaCore& core, std::ptrdiff_t T);  // scratch of attend_head_bf16

  MlaCore core_;
  std::ptrdiff_t stride_;  // floats of scratch per worker
  float* scratch_;         // [workers, stride_]
};

}  // namespace kl
