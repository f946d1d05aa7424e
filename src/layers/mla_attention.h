#pragma once
#include <span>

#include "kl/model_args.h"
#include "layers/context.h"
#include "layers/mla_cache.h"
#include "weights/weights.h"

namespace kl {

/// KimiMLAAttention: full causal attention over compressed keys and values, without positions.
///
///     q = W_q x                [H, N+P], split per head into q_n and q_p
///     c = RMSNorm(a[:R]),  k_p = a[R:],  a = W_kva x          all that is cached per token
///     k_h = [W_UK,h c | k_p],  v_h = W_UV,h c                  keys and values, if they were ever written out
///     o_h = softmax( q_h . k_h / sqrt(N+P) ) v_h;   y = W_o concat_h(o_h)
///
/// Role      exact recall in one layer of four, where KDA's fixed-size memory would blur.  Nothing is rotated (NoPE):
///           order reaches these layers only through the KDA layers around them.
/// Forms     two, of the same algebra (docs/mla.md):
///           absorbed  (W_UK,h^T q_n) . c instead of q_n . (W_UK,h c): attention runs on the latents themselves.  No
///                     expansion, but R + P + R multiply-adds per query, head and key.  For few queries.
///           expanded  keys and values of each head are computed block by block and thrown away: N + P + V
///                     multiply-adds, after an expansion that all queries of the pass share.  For many.
/// Shapes    x, y: [T, D].
/// Numerics  the forms round differently; Segment::form says which one runs.  Within a form neither
///           passes, batch nor threads change a bit (docs/numerics.md).
/// Source    modeling_kimi.py KimiMLAAttention; DeepSeek-V2 for the absorption.
class KimiMLAAttention {
 public:
  /// `caches[s]` belongs to the sequence of segments[s]; REQUIRES room reserved for its new tokens.
  static void forward(const MlaWeights& w, const ModelArgs& args, const LayerContext& c,
                      std::span<const Segment> segments, std::span<MlaCache* const> caches, const float* x,
                      std::ptrdiff_t T, float* y) noexcept;

  /// Takes the arena space forward() will take for T tokens and `workers` threads.
  static void plan(const ModelArgs& args, const LayerSettings& settings, Arena& arena, std::ptrdiff_t T, int workers);
};

}  // namespace kl
