#pragma once
#include <span>

#include "kl/model_args.h"
#include "layers/context.h"
#include "layers/kda_cache.h"
#include "weights/weights.h"

namespace kl {

/// KimiDeltaAttention: linear attention with a gated delta rule and one decay per key channel.
///
///     q, k, v = silu(conv(W_q x)), silu(conv(W_k x)), silu(conv(W_v x));   q, k to unit length, q * K^-1/2
///     alpha = exp( -exp(A_log) softplus(W_fb W_fa x + dt_bias) )     how much each key channel keeps, [K] per head
///     beta  = sigmoid(W_b x)                                         how strongly to write, one per head
///     S <- diag(alpha) S;   S <- S + k (beta (v - S^T k))^T;   o = S^T q      gated_delta_update
///     y = W_o ( RMSNorm(o) * sigmoid(W_gb W_ga x) )
///
/// Role      token mixing in three layers of four: a key-value memory of constant size S [K, V] per head that is
///           corrected, not merely added to, and forgets channel by channel.  A token costs the same at any length.
/// Shapes    x, y: [T, D]; heads H, K = V = head_dim.
/// Aliasing  y may be x: the last product alone writes it.
/// Tentative tokens (Segment::tentative) run on a copy of one head's memory at a time, and their inputs are held.  Once
///           kept, the next pass writes them before anything else: each pass reads and writes S once, whatever happens.
/// Numerics  one head is one task; no sum crosses heads or tasks.  Any split of T into calls gives the same bits.
/// Source    tech report (KDA); modeling_kimi.py KimiDeltaAttention; fla naive_recurrent_kda.  See docs/kda.md.
class KimiDeltaAttention {
 public:
  /// `caches[s]` is the state of the sequence of segments[s]; advanced.
  /// REQUIRES: room reserved for tentative tokens; where some are held and not kept, all tokens of the segment are.
  static void forward(const KdaWeights& w, const ModelArgs& args, const LayerContext& c,
                      std::span<const Segment> segments, std::span<KdaCache* const> caches, const float* x,
                      std::ptrdiff_t T, float* y) noexcept;

  /// Writes kept tokens into the memory now, without waiting for the next pass.
  static void settle(const KdaWeights& w, const ModelArgs& args, const LayerContext& c, KdaCache& cache) noexcept;

  /// Takes the arena space forward() will take for T tokens and `workers` threads.
  static void plan(const ModelArgs& args, Arena& arena, std::ptrdiff_t T, int workers);
};

}  // namespace kl
