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

/// The absorbed form, for any number of sequences.
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
  /// Those of the segments that take this form, of T rows in all.  Their new tokens are in the caches already.
  static void forward(const MlaWeights& w, const MlaCore& core, const LayerContext& c,
                      std::span<const Segment> segments, std::span<MlaCache* const> caches, std::ptrdiff_t T) noexcept;

  /// Takes the arena space forward() will take.
  static void plan(const MlaCore& core, const LayerSettings& settings, Arena& arena, std::ptrdiff_t T, int workers);
};

/// The expanded form, one sequence after the other.
///
///     k_h,s = [W_UK,h c_s | k_p,s],   v_h,s = W_UV,h c_s       block by block
///     o_h = sum_s softmax_s( scale q_h . k_h,s ) v_h,s
///
/// Over a bf16 cache W_UK, W_UV, q, k, v and the weights of the softmax are rounded to bf16 (multiplies_bf16).
///
/// Work is split by heads: one task expands each block of keys once and lets all queries of its head meet it.
class MlaExpanded {
 public:
  /// Those of the segments that take this form.  Their new tokens are in the caches already.
  static void forward(const MlaWeights& w, const MlaCore& core, const LayerContext& c,
                      std::span<const Segment> segments, std::span<MlaCache* const> caches) noexcept;

  /// Takes the arena space forward() will take for segments of up to T rows.
  static void plan(const MlaCore& core, const LayerSettings& settings, Arena& arena, std::ptrdiff_t T, int workers);
};

}  // namespace kl
