#pragma once
#include <atomic>
#include <cstdint>

#include "model/decoder_layer.h"

namespace kl {

/// KimiLinearModel and its language-model head: token ids in, logits out.
///
///     x = embed[token];   x = layer_i(x) for every layer;   logits = lm_head RMSNorm(x; norm)
///
/// Role      the architecture in one loop: read forward() first, then decoder_layer.cc.  Everything that computes is in
///           here: Model, which owns it, checks what it is given and cuts it into passes.
/// Shapes    x: [T, D], the residual stream of all new tokens of all sequences.
/// Source    modeling_kimi.py KimiLinearModel, KimiLinearForCausalLM.
class KimiLinearModel {
 public:
  /// `weights`, `kernels` and `products` (null: nobody listens) must outlive the object.  Scratch for passes of up to
  /// max_tokens is allocated here, once, and so are the threads.
  KimiLinearModel(const ModelArgs& args, const ModelWeights& weights, const LayerSettings& settings,
                  const Kernels& kernels, int threads, std::ptrdiff_t max_tokens, ProductObserver* products);

  /// Runs the pass: advances the states and reports the logits of the wanted rows, of all layers too if the observer
  /// wants that.  REQUIRES: 1 <= T <= max_tokens, tokens inside the vocabulary, room reserved in every state.
  /// `profiler` may be null.  Never throws unless `observer` does; then the states of the pass must not be used again.
  void forward(const ForwardPass& pass, ForwardObserver& observer, Profiler* profiler);

  /// Writes kept tokens into the KDA layers' memories now.
  void settle(StateImpl& state) noexcept;

  int threads() const noexcept { return pool_.size(); }  ///< the caller's included

  std::uint64_t layers_done() const { return layers_done_.load(std::memory_order_relaxed); }  ///< from any thread

  /// Bytes of scratch such a model takes for passes of up to max_tokens.
  static std::size_t scratch_bytes(const ModelArgs& args, const ModelWeights& weights, const LayerSettings& settings,
                                   std::ptrdiff_t max_tokens, int workers);

 private:
  LayerContext context(Profiler* profiler) noexcept;
  std::ptrdiff_t keep_wanted(const ForwardPass& pass) noexcept;
  /// Residual stream and routing of every row after a layer.
  void report_layer(const ForwardPass& pass, int layer, const Routing& routing, ForwardObserver& observer) const;
  void report_logits(const ForwardPass& pass, const LayerContext& c, ForwardObserver& observer);

  const ModelArgs& args_;
  const ModelWeights& weights_;
  const LayerSettings settings_;
  const Kernels& kernels_;
  ProductObserver* const products_;
  ThreadPool pool_;
  Arena arena_;
  float* const x_;  // [max_tokens, D]
  std::atomic<std::uint64_t> layers_done_ = 0;
};

}  // namespace kl
