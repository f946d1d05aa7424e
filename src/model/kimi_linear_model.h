#pragma once
#include <atomic>
#include <cstdint>

#include "model/decoder_layer.h"

namespace kl {

/// KimiLinearModel: embedding, decoder layers, final norm.  The head that turns hidden vectors into logits is Model's.
///
///     x = embed[token];   x = layer_i(x) for every layer;   h = RMSNorm(x; norm)
///
/// Role      the architecture in one loop: read forward() first, then decoder_layer.cc.
/// Shapes    x: [T, D], the residual stream of all new tokens of all sequences.
/// Source    modeling_kimi.py KimiLinearModel.
class KimiLinearModel {
 public:
  /// `weights` must outlive the object.  Scratch for passes of up to max_tokens is allocated here, once.
  KimiLinearModel(const ModelArgs& args, const ModelWeights& weights, const LayerSettings& settings,
                  const Kernels& kernels, ThreadPool& pool, std::ptrdiff_t max_tokens);

  /// Runs the pass and returns the residual stream after the last layer of the wanted rows [wanted, D], valid until the
  /// next call.  The last layer's second half is computed for these only, unless an observer wants to see all.
  /// REQUIRES: 1 <= T <= max_tokens, tokens inside the vocabulary, room reserved in every state.
  /// `profiler` may be null.  Never throws unless `observer` (may be null) does; then the states of the pass must not be used again.
  const float* forward(const ForwardPass& pass, ForwardObserver* observer, Profiler* profiler);

  /// Writes kept tokens into the KDA layers' memories now.
  void settle(StateImpl& state) noexcept;

  /// h = RMSNorm(x; norm) for one row.
  /// Shapes    x, h: [D].
  void final_norm(const float* x, float* h) const noexcept;

  /// The kernels a call uses: those that do nothing, if only regions are to be timed.
  const Kernels& kernels(const Profiler* profiler) const noexcept {
    return profiler != nullptr && profiler->regions_only() ? nothing::kernels : kernels_;
  }

  std::uint64_t layers_done() const { return layers_done_.load(std::memory_order_relaxed); }  ///< from any thread

  /// What the layers of such a model take of it for passes of up to max_tokens.
  static std::size_t scratch_floats(const ModelArgs& args, const ModelWeights& weights, const LayerSettings& settings,
                                    std::ptrdiff_t max_tokens, int workers);

 private:
  void report(const ForwardPass& pass, int layer, const Routing& routing, ForwardObserver& observer) const;

  const ModelArgs& args_;
  const ModelWeights& weights_;
  const LayerSettings settings_;
  const Kernels& kernels_;
  ThreadPool& pool_;
  Arena arena_;
  AlignedBuffer x_;  // [max_tokens, D]
  std::atomic<std::uint64_t> layers_done_ = 0;
};

}  // namespace kl
