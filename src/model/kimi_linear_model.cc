#include "model/kimi_linear_model.h"

#include <cstring>

#include "layers/delta_attention.h"
#include "layers/rms_norm.h"

namespace kl {

KimiLinearModel::KimiLinearModel(const ModelArgs& args, const ModelWeights& weights, const LayerSettings& settings,
                                 const Kernels& kernels, ThreadPool& pool, std::ptrdiff_t max_tokens)
    : args_(args),
      weights_(weights),
      settings_(settings),
      kernels_(kernels),
      pool_(pool),
      arena_(scratch_floats(args, weights, settings, max_tokens, pool.size())),
      x_(static_cast<std::size_t>(max_tokens * args.hidden_size)) {}

std::size_t KimiLinearModel::scratch_floats(const ModelArgs& args, const ModelWeights& weights,
                                            const LayerSettings& settings, std::ptrdiff_t max_tokens, int workers) {
  Arena measure;
  for (const LayerWeights& w : weights.layers) KimiDecoderLayer::plan(w, args, settings, measure, max_tokens, workers);
  return measure.peak();
}

const float* KimiLinearModel::forward(const ForwardPass& pass, ForwardObserver* observer, Profiler* profiler) {
  const LayerContext c{kernels(profiler), pool_, arena_, settings_.integers, profiler};
  const std::ptrdiff_t T = pass.T(), D = args_.hidden_size;
  const WeightMatrix& embed = weights_.embed_tokens;
  if (profiler != nullptr) {
    profiler->count_bytes(bytes_of(embed) / static_cast<double>(embed.N) * static_cast<double>(T));
  }
  for_each_token(c, T, [&](std::ptrdiff_t t) {
    c.kernels.weight_row(embed, pass.tokens[static_cast<std::size_t>(t)], x_.data() + t * D);
  });

  const auto keep_wanted = [&] {  // rows ascend, so none is overwritten before it has moved
    for (std::size_t i = 0; i < pass.wanted.size(); ++i)
      std::memmove(x_.data() + static_cast<std::ptrdiff_t>(i) * D, x_.data() + pass.wanted[i].row * D,
                   static_cast<std::size_t>(D) * sizeof(float));
    return static_cast<std::ptrdiff_t>(pass.wanted.size());
  };
  for (std::size_t i = 0; i < weights_.layers.size(); ++i) {
    const ArenaScope scope(arena_);
    const LayerWeights& w = weights_.layers[i];
    KimiDecoderLayer::mix_tokens(w, args_, c, pass, i, x_.data());
    layers_done_.fetch_add(1, std::memory_order_relaxed);
    const bool is_last = i + 1 == weights_.layers.size();
    const std::ptrdiff_t rows = is_last && observer == nullptr ? keep_wanted() : T;
    if (rows == 0) continue;
    const Routing routing = KimiDecoderLayer::mix_channels(w, args_, settings_, c, rows, x_.data());
    if (observer != nullptr) report(pass, static_cast<int>(i), routing, *observer);
  }
  if (observer != nullptr) keep_wanted();
  for (std::size_t s = 0; s < pass.segments.size(); ++s) {
    const Segment& segment = pass.segments[s];
    pass.states[s]->num_tokens += segment.count - segment.tentative;
    pass.states[s]->num_tentative += segment.tentative;
  }
  return x_.data();
}

void KimiLinearModel::settle(StateImpl& state) noexcept {
  const LayerContext c{kernels_, pool_, arena_, settings_.integers, nullptr};
  for (std::size_t i = 0; i < weights_.layers.size(); ++i)
    if (const auto* w = std::get_if<KdaWeights>(&weights_.layers[i].attention))
      KimiDeltaAttention::settle(*w, args_, c, *std::get_if<KdaCache>(&state.layers[i]));
}

void KimiLinearModel::final_norm(const float* x, float* h) const noexcept {
  kernels_.rms_norm(x, weights_.norm, args_.rms_norm_eps, args_.hidden_size, h);
}

void KimiLinearModel::report(const ForwardPass& pass, int layer, const Routing& routing,
                             ForwardObserver& observer) const {
  const auto D = static_cast<std::size_t>(args_.hidden_size), A = static_cast<std::size_t>(args_.num_experts_per_token);
  pass.for_each_row([&](std::ptrdiff_t row, int sequence, std::int64_t index) {
    const auto r = static_cast<std::size_t>(row);
    observer.on_hidden(layer, sequence, index, {x_.data() + r * D, D});
    if (routing.ids != nullptr)
      observer.on_router(layer, sequence, index, {routing.ids + r * A, A}, {routing.weights + r * A, A});
  });
}

}  // namespace kl
