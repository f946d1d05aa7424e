// The whole model, top down.  A pass has T rows: the new tokens of all its sequences, one after the other.  Each row of
// x [T, D] is a token's residual stream, and everything below reads it, computes, and adds to it:
//
//     embedding        x[t] = embed[token t]
//     27 layers        x += attention(norm(x));  x += feed_forward(norm(x))          decoder_layer.cc
//     head             logits = lm_head norm(x), of the rows that somebody wants
//
// Rows meet each other in attention only, and there only with rows of their own sequence, through that sequence's state:
// that is why any mixture of sequences can share a pass.  Behind the last attention only the wanted rows still matter, so
// the others are dropped there: a prompt of 2048 tokens takes one row through the last experts and through the head.
//
// Nothing here allocates: x, the layers' scratch and the head's come from one arena that the constructor has sized by
// running the same layout code (Arena).
#include "model/kimi_linear_model.h"

#include <algorithm>

#include "layers/delta_attention.h"
#include "layers/rms_norm.h"

namespace kl {
namespace {

/// Rows of logits computed at a time: one pass over lm_head serves them all, and 16 x 163,840 floats are 10 MiB.
constexpr std::ptrdiff_t kLogitRows = 16;

/// The residual stream, which lasts as long as the model.
float* take_residual(Arena& arena, const ModelArgs& args, std::ptrdiff_t max_tokens) {
  return arena.take<float>(max_tokens * args.hidden_size);
}

/// Scratch of the head.
struct HeadBuffers {
  float* normed;         // [kLogitRows, D] rows whose logits are wanted
  std::byte* quantized;  // the same quantised
  float* logits;         // [kLogitRows, vocab]

  /// For any rows.
  HeadBuffers(Arena& arena, const ModelArgs& args)
      : normed(arena.take<float>(kLogitRows * args.hidden_size)),
        quantized(arena.take<std::byte>(quantized_bytes(kLogitRows, args.hidden_size))),
        logits(arena.take<float>(kLogitRows * args.vocab_size)) {}
};

}  // namespace

KimiLinearModel::KimiLinearModel(const ModelArgs& args, const ModelWeights& weights, const LayerSettings& settings,
                                 const Kernels& kernels, int threads, std::ptrdiff_t max_tokens,
                                 ProductObserver* products)
    : args_(args),
      weights_(weights),
      settings_(settings),
      kernels_(kernels),
      products_(products),
      pool_(threads),
      arena_(scratch_bytes(args, weights, settings, max_tokens, threads)),
      x_(take_residual(arena_, args, max_tokens)) {}

std::size_t KimiLinearModel::scratch_bytes(const ModelArgs& args, const ModelWeights& weights,
                                           const LayerSettings& settings, std::ptrdiff_t max_tokens, int workers) {
  Arena measure;
  take_residual(measure, args, max_tokens);
  for (const LayerWeights& w : weights.layers) KimiDecoderLayer::plan(w, args, settings, measure, max_tokens, workers);
  const ArenaScope scope(measure);
  HeadBuffers(measure, args);
  return measure.peak();
}

/// With kernels that do nothing, if only regions are to be timed.
LayerContext KimiLinearModel::context(Profiler* profiler) noexcept {
  const bool regions_only = profiler != nullptr && profiler->regions_only();
  return {regions_only ? nothing::kernels : kernels_, pool_, arena_, settings_, profiler, products_};
}

void KimiLinearModel::forward(const ForwardPass& pass, ForwardObserver& observer, Profiler* profiler) {
  const LayerContext c = context(profiler);
  const std::ptrdiff_t T = pass.T(), D = args_.hidden_size;
  const bool every_row = observer.wants_layers();

  // 1. Embedding: a row of a matrix per token.
  const WeightMatrix& embed = weights_.embed_tokens;
  if (profiler != nullptr)
    profiler->count_bytes(bytes_of(embed) / static_cast<double>(embed.N) * static_cast<double>(T));
  for_each_token(c, T, [&](std::ptrdiff_t t) {
    c.kernels.weight_row(embed, pass.tokens[static_cast<std::size_t>(t)], x_ + t * D);
  });

  // 2. The layers.
  for (std::size_t i = 0; i < weights_.layers.size(); ++i) {
    const ArenaScope scope(arena_);
    const LayerWeights& w = weights_.layers[i];
    KimiDecoderLayer::mix_tokens(w, args_, c, pass, i, x_);
    layers_done_.fetch_add(1, std::memory_order_relaxed);
    const bool is_last = i + 1 == weights_.layers.size();
    const std::ptrdiff_t rows = is_last && !every_row ? keep_wanted(pass) : T;
    if (rows == 0) continue;
    const Routing routing = KimiDecoderLayer::mix_channels(w, args_, c, rows, x_);
    if (every_row) report_layer(pass, static_cast<int>(i), routing, observer);
  }
  if (every_row) keep_wanted(pass);

  // 3. Every sequence is as much longer.
  for (std::size_t s = 0; s < pass.segments.size(); ++s) {
    const Segment& segment = pass.segments[s];
    pass.states[s]->num_tokens += segment.count - segment.tentative;
    pass.states[s]->num_tentative += segment.tentative;
  }
  // 4. The head.
  report_logits(pass, c, observer);
}

/// Moves the wanted rows of x to its beginning; returns how many they are.
std::ptrdiff_t KimiLinearModel::keep_wanted(const ForwardPass& pass) noexcept {
  const std::ptrdiff_t D = args_.hidden_size;
  for (std::size_t i = 0; i < pass.wanted.size(); ++i) {  // rows ascend, so none is overwritten before it has moved
    const float* from = x_ + pass.wanted[i].row * D;
    std::copy(from, from + D, x_ + static_cast<std::ptrdiff_t>(i) * D);
  }
  return std::ssize(pass.wanted);
}

void KimiLinearModel::report_layer(const ForwardPass& pass, int layer, const Routing& routing,
                                   ForwardObserver& observer) const {
  const auto D = static_cast<std::size_t>(args_.hidden_size), A = static_cast<std::size_t>(args_.num_experts_per_token);
  pass.for_each_row([&](std::ptrdiff_t row, int sequence, std::int64_t index) {
    const auto r = static_cast<std::size_t>(row);
    observer.on_hidden(layer, sequence, index, {x_ + r * D, D});
    if (routing.ids != nullptr)
      observer.on_router(layer, sequence, index, {routing.ids + r * A, A}, {routing.weights + r * A, A});
  });
}

/// logits = lm_head RMSNorm(x) of the wanted rows x [wanted, D], kLogitRows at a time.
void KimiLinearModel::report_logits(const ForwardPass& pass, const LayerContext& c, ForwardObserver& observer) {
  const PartScope part(c.profiler, ModelPart::kHead);
  const ArenaScope scope(arena_);
  const HeadBuffers b(arena_, args_);
  const std::ptrdiff_t D = args_.hidden_size, N = args_.vocab_size, total = std::ssize(pass.wanted);
  for (std::ptrdiff_t first = 0; first < total; first += kLogitRows) {
    const std::ptrdiff_t count = std::min(kLogitRows, total - first);
    for (std::ptrdiff_t i = 0; i < count; ++i)
      kernels_.rms_norm(x_ + (first + i) * D, weights_.norm, args_.rms_norm_eps, D, b.normed + i * D);
    const Rows rows = rows_for(c, {&weights_.lm_head}, b.normed, count, D, b.quantized);
    matmul_together(c, {product(weights_.lm_head, rows, b.logits, count)});
    for (std::ptrdiff_t i = 0; i < count; ++i) {
      const WantedRow& wanted = pass.wanted[static_cast<std::size_t>(first + i)];
      observer.on_logits(wanted.sequence, wanted.index, {b.logits + i * N, static_cast<std::size_t>(N)});
    }
  }
}

void KimiLinearModel::settle(StateImpl& state) noexcept {
  const LayerContext c = context(nullptr);
  for (std::size_t i = 0; i < weights_.layers.size(); ++i)
    if (const auto* w = std::get_if<KdaWeights>(&weights_.layers[i].attention))
      KimiDeltaAttention::settle(*w, args_, c, *std::get_if<KdaCache>(&state.layers[i]));
}

}  // namespace kl
