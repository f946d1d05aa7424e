#pragma once
#include <span>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "kl/model_args.h"
#include "layers/context.h"
#include "weights/weights.h"

namespace kl {

/// What a KDA layer remembers of one sequence.  Fixed size, whatever the sequence's length.
struct KdaCache {
  KdaCache(const ModelArgs& args, DType S_type);  ///< an empty memory: all zeros; S_type is kF32 or kBF16

  /// A memory with these contents, laid out and sized as those of an empty one.
  KdaCache(const KdaCache& empty, AlignedBuffer S_now, AlignedBuffer conv_now)
      : num_heads(empty.num_heads),
        K(empty.K),
        V(empty.V),
        W(empty.W),
        S_type(empty.S_type),
        S(std::move(S_now)),
        conv(std::move(conv_now)) {}

  std::ptrdiff_t num_heads, K, V, W;
  DType S_type;
  AlignedBuffer S;     // [H, ceil(V/32), K, 32] of S_type: associations, value columns in slices (kernels.h)
  AlignedBuffer conv;  // [3, W-1, H*K]: last raw q, k, v projections, oldest first

  void* S_of(std::ptrdiff_t head) { return reinterpret_cast<std::byte*>(S.data()) + head * head_bytes(); }
  float* conv_of(int stream) { return conv.data() + stream * (W - 1) * num_heads * K; }
  std::vector<float> S_hkv() const;  ///< [H, K, V] copy

 private:
  std::ptrdiff_t head_bytes() const { return kda_state_elements(K, V) * static_cast<std::ptrdiff_t>(size_of(S_type)); }
};

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
/// Numerics  one head is one task; no sum crosses heads or tasks.  Any split of T into calls gives the same bits.
/// Source    tech report (KDA); modeling_kimi.py KimiDeltaAttention; fla naive_recurrent_kda.  See docs/kda.md.
class KimiDeltaAttention {
 public:
  /// `caches[s]` is the state of the sequence of segments[s]; advanced.
  static void forward(const KdaWeights& w, const ModelArgs& args, const LayerContext& c,
                      std::span<const Segment> segments, std::span<KdaCache* const> caches, const float* x,
                      std::ptrdiff_t T, float* y) noexcept;

  /// Takes the arena space forward() will take for T tokens and `workers` threads.
  static void plan(const ModelArgs& args, Arena& arena, std::ptrdiff_t T, int workers);
};

}  // namespace kl
