#include "model/decoder_layer.h"

#include "layers/delta_attention.h"
#include "layers/mlp.h"
#include "layers/rms_norm.h"

namespace kl {
namespace {

/// Scratch of one layer, beside what its two halves take.
struct Buffers {
  float* normed;  // [T, D] input of each half
  float* mixed;   // [T, D] its output
  void** caches;  // [T] one per segment, of which there are at most T
  Buffers(const ModelArgs& args, Arena& arena, std::ptrdiff_t T)
      : normed(arena.take(T * args.hidden_size)),
        mixed(arena.take(T * args.hidden_size)),
        caches(reinterpret_cast<void**>(arena.take(2 * T))) {}
};

/// The layer's cache of every sequence in the pass.
template <class Cache>
std::span<Cache* const> caches_of(const ForwardPass& pass, std::size_t layer, void** storage) noexcept {
  auto** caches = reinterpret_cast<Cache**>(storage);
  for (std::size_t s = 0; s < pass.states.size(); ++s) caches[s] = std::get_if<Cache>(&pass.states[s]->layers[layer]);
  return {caches, pass.states.size()};
}

}  // namespace

void KimiDecoderLayer::mix_tokens(const LayerWeights& w, const ModelArgs& args, const LayerContext& c,
                                  const ForwardPass& pass, std::size_t index, float* x) noexcept {
  const ArenaScope scope(c.arena);
  const std::ptrdiff_t T = pass.T(), D = args.hidden_size;
  const Buffers b(args, c.arena, T);

  rms_norm(c, w.input_norm, args.rms_norm_eps, x, T, D, b.normed);
  if (const auto* kda = std::get_if<KdaWeights>(&w.attention)) {
    KimiDeltaAttention::forward(*kda, args, c, pass.segments, caches_of<KdaCache>(pass, index, b.caches), b.normed, T,
                                b.mixed);
  } else {
    KimiMLAAttention::forward(*std::get_if<MlaWeights>(&w.attention), args, c, pass.segments,
                              caches_of<MlaCache>(pass, index, b.caches), b.normed, T, b.mixed);
  }
  add_residual(c, b.mixed, T, D, x);
}

Routing KimiDecoderLayer::mix_channels(const LayerWeights& w, const ModelArgs& args, const LayerSettings& settings,
                                       const LayerContext& c, std::ptrdiff_t T, float* x) noexcept {
  const std::ptrdiff_t D = args.hidden_size;
  const Buffers b(args, c.arena, T);
  rms_norm(c, w.post_attention_norm, args.rms_norm_eps, x, T, D, b.normed);
  Routing routing{};
  if (const auto* moe = std::get_if<MoeWeights>(&w.feed_forward)) {
    routing = KimiSparseMoE::forward(*moe, args, settings.router_weights, c, b.normed, T, b.mixed);
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
    KimiMLAAttention::plan(args, settings.mla_form, arena, T, workers);
  }
  if (const auto* moe = std::get_if<MoeWeights>(&w.feed_forward)) {
    KimiSparseMoE::plan(*moe, args, arena, T, workers);
  } else {
    KimiMLP::plan(*std::get_if<MlpWeights>(&w.feed_forward), arena, T, workers);
  }
}

}  // namespace kl
