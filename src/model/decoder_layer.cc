// One layer, the place where the parts of src/layers/ meet.  It has two halves of the same shape:
//
//     normed = RMSNorm(x)                  a half reads the residual stream x [T, D] through a norm of its own,
//     mixed  = its part of the model       computes something of the same shape,
//     x     += mixed                       and adds it.
//
// The first half mixes tokens: each row learns from earlier rows of its sequence.  Three layers of four do so by KDA, a
// memory of fixed size (delta_attention.h), the fourth by MLA, which looks at every earlier token (mla_attention.h).
// The second half mixes channels, row by row: a dense MLP in the first layer (mlp.h), a mixture of experts in the
// others (sparse_moe.h).  Which kind a layer is, its weights say: they hold one or the other, and so does the layer's
// cache in every SequenceState.
#include "model/decoder_layer.h"

#include "layers/delta_attention.h"
#include "layers/mlp.h"
#include "layers/rms_norm.h"

namespace kl {
namespace {

/// Scratch of one half, beside what its part takes.
struct Buffers {
  float* normed;   // [T, D] input of the part
  float* mixed;    // [T, D] its output
  KdaCache** kda;  // [T] the layer's cache of each segment, of which there are at most T;
  MlaCache** mla;  // one of the two is used, by the first half

  /// For T tokens.
  Buffers(const ModelArgs& args, Arena& arena, std::ptrdiff_t T)
      : normed(arena.take<float>(T * args.hidden_size)),
        mixed(arena.take<float>(T * args.hidden_size)),
        kda(arena.take<KdaCache*>(T)),
        mla(arena.take<MlaCache*>(T)) {}
};

/// The layer's cache of every sequence in the pass.
template <class Cache>
std::span<Cache* const> caches_of(const ForwardPass& pass, std::size_t layer, Cache** storage) noexcept {
  for (std::size_t s = 0; s < pass.states.size(); ++s) storage[s] = std::get_if<Cache>(&pass.states[s]->layers[layer]);
  return {storage, pass.states.size()};
}

}  // namespace

void KimiDecoderLayer::mix_tokens(const LayerWeights& w, const ModelArgs& args, const LayerContext& c,
                                  const ForwardPass& pass, std::size_t index, float* x) noexcept {
  const ArenaScope scope(c.arena);
  const std::ptrdiff_t T = pass.T(), D = args.hidden_size;
  const Buffers b(args, c.arena, T);

  rms_norm(c, w.input_norm, args.rms_norm_eps, x, T, D, b.normed);
  if (const auto* kda = std::get_if<KdaWeights>(&w.attention)) {
    KimiDeltaAttention::forward(*kda, args, c, pass.segments, caches_of(pass, index, b.kda), b.normed, T, b.mixed);
  } else {
    KimiMLAAttention::forward(*std::get_if<MlaWeights>(&w.attention), args, c, pass.segments,
                              caches_of(pass, index, b.mla), b.normed, T, b.mixed);
  }
  add_residual(c, b.mixed, T, D, x);
}

Routing KimiDecoderLayer::mix_channels(const LayerWeights& w, const ModelArgs& args, const LayerContext& c,
                                       std::ptrdiff_t T, float* x) noexcept {
  const std::ptrdiff_t D = args.hidden_size;
  const Buffers b(args, c.arena, T);
  rms_norm(c, w.post_attention_norm, args.rms_norm_eps, x, T, D, b.normed);
  Routing routing{};
  if (const auto* moe = std::get_if<MoeWeights>(&w.feed_forward)) {
    routing = KimiSparseMoE::forward(*moe, args, c, b.normed, T, b.mixed);
  } else {
    KimiMLP::forward(*std::get_if<MlpWeights>(&w.feed_forward), c, b.normed, T, b.mixed);
  }
  add_residual(c, b.mixed, T, D, x);
  return routing;
}

void KimiDecoderLayer::plan(const LayerWeights& w, const ModelArgs& args, const LayerSettings& settings, Arena& arena,
                            std::ptrdiff_t T, int workers) {
  const ArenaScope scope(arena);
  Buffers(args, arena, T);
  if (std::holds_alternative<KdaWeights>(w.attention)) {
    KimiDeltaAttention::plan(args, arena, T, workers);
  } else {
    KimiMLAAttention::plan(args, settings, arena, T, workers);
  }
  if (const auto* moe = std::get_if<MoeWeights>(&w.feed_forward)) {
    KimiSparseMoE::plan(*moe, args, arena, T, workers);
  } else {
    KimiMLP::plan(*std::get_if<MlpWeights>(&w.feed_forward), arena, T, workers);
  }
}

}  // namespace kl
