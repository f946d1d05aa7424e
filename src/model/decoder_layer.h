#pragma once
#include "layers/mla_attention.h"
#include "layers/sparse_moe.h"
#include "model/forward_pass.h"

namespace kl {

/// KimiDecoderLayer: token mixing, then channel mixing, each added to the residual stream.
///
///     x <- x + Attention( RMSNorm(x; input_norm) )              KimiDeltaAttention or KimiMLAAttention
///     x <- x + FeedForward( RMSNorm(x; post_attention_norm) )   KimiMLP or KimiSparseMoE
///
/// Shapes    x: [T, D].
/// Source    modeling_kimi.py KimiDecoderLayer.
class KimiDecoderLayer {
 public:
  /// The first half: advances x [T, D] and the states of the pass.
  static void mix_tokens(const LayerWeights& w, const ModelArgs& args, const LayerContext& c, const ForwardPass& pass,
                         std::size_t index, float* x) noexcept;

  /// The second half, for any T rows x [T, D]: rows do not meet here.  Returns what the router chose, if the layer has
  /// one; it stays valid until the caller's ArenaScope ends.
  static Routing mix_channels(const LayerWeights& w, const ModelArgs& args, const LayerContext& c, std::ptrdiff_t T,
                              float* x) noexcept;

  /// Takes the arena space both halves will take for T tokens.
  static void plan(const LayerWeights& w, const ModelArgs& args, const LayerSettings& settings, Arena& arena,
                   std::ptrdiff_t T, int workers);
};

}  // namespace kl
