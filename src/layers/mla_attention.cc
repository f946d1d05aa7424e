#include "layers/mla_attention.h"

#include <cmath>

#include "layers/mla_forms.h"

namespace kl {
namespace {

/// Scratch of one forward() that both forms need.
struct Buffers {
  float* q;              // [T, H, N + P]
  float* a;              // [T, R + P] latent before its norm, shared key part
  float* o;              // [T, H, V]
  std::byte *x_q, *o_q;  // x and o quantised

  /// For T tokens.
  Buffers(const ModelArgs& args, Arena& arena, std::ptrdiff_t T) {
    const std::ptrdiff_t H = args.num_attention_heads;
    q = arena.take<float>(T * H * (args.qk_nope_head_dim + args.qk_rope_head_dim));
    a = arena.take<float>(T * (args.kv_lora_rank + args.qk_rope_head_dim));
    o = arena.take<float>(T * H * args.v_head_dim);
    x_q = arena.take<std::byte>(quantized_bytes(T, args.hidden_size));
    o_q = arena.take<std::byte>(quantized_bytes(T, H * args.v_head_dim));
  }
};

/// What the two forms need to know, without weights.
MlaCore core_of(const ModelArgs& args, const Buffers& b) {
  const int key_dim = args.qk_nope_head_dim + args.qk_rope_head_dim;
  return {.H = args.num_attention_heads,
          .N = args.qk_nope_head_dim,
          .P = args.qk_rope_head_dim,
          .R = args.kv_lora_rank,
          .V = args.v_head_dim,
          .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(key_dim))),
          .q = b.q,
          .o = b.o};
}

/// Puts the new tokens' rows into each cache: normalised latent (in place, in `a`), raw k_pe.
void append_latents(const MlaWeights& w, const ModelArgs& args, const LayerContext& c,
                    std::span<const Segment> segments, std::span<MlaCache* const> caches, float* a) noexcept {
  const std::ptrdiff_t R = args.kv_lora_rank, P = args.qk_rope_head_dim;
  for (std::size_t s = 0; s < segments.size(); ++s) {
    MlaCache& cache = *caches[s];
    const std::int64_t start = cache.num_tokens();
    cache.append(segments[s].count);
    for_each_token(c, segments[s].count, [&](std::ptrdiff_t t) {
      float* row = a + (segments[s].first + t) * (R + P);
      c.kernels.rms_norm(row, w.kv_a_norm, args.kv_a_norm_eps, R, row);
      c.kernels.store_latent(cache.format(), row, cache.row(start + t));
    });
  }
}

/// Every cached row is read once, whatever the form; the new ones were written before.
void count_latents(Profiler& profiler, std::span<const Segment> segments, std::span<MlaCache* const> caches) {
  for (std::size_t s = 0; s < segments.size(); ++s) {
    const auto rows = static_cast<double>(caches[s]->num_tokens() + segments[s].count);
    profiler.count_bytes(rows * static_cast<double>(caches[s]->format().row_bytes()));
  }
}

}  // namespace

void KimiMLAAttention::plan(const ModelArgs& args, const LayerSettings& settings, Arena& arena, std::ptrdiff_t T,
                            int workers) {
  const ArenaScope scope(arena);
  const MlaCore core = core_of(args, Buffers(args, arena, T));
  if (settings.mla_form != MlaForm::kExpanded) MlaAbsorbed::plan(core, settings, arena, T, workers);
  if (settings.mla_form != MlaForm::kAbsorbed) MlaExpanded::plan(core, settings, arena, T, workers);
}

void KimiMLAAttention::forward(const MlaWeights& w, const ModelArgs& args, const LayerContext& c,
                               std::span<const Segment> segments, std::span<MlaCache* const> caches, const float* x,
                               std::ptrdiff_t T, float* y) noexcept {
  const ArenaScope scope(c.arena);
  const Buffers b(args, c.arena, T);

  // 1. Queries, and what is cached of each token.
  PartScope part(c.profiler, ModelPart::kProjections);
  const Rows in = rows_for(c, {&w.q_proj, &w.kv_a_proj}, x, T, args.hidden_size, b.x_q);
  matmul_together(c, {product(w.q_proj, in, b.q, T), product(w.kv_a_proj, in, b.a, T)});

  // 2. Into the caches, before any query reads: a token sees itself.
  part.next(ModelPart::kMla);
  append_latents(w, args, c, segments, caches, b.a);
  if (c.profiler != nullptr) count_latents(*c.profiler, segments, caches);

  // 3. Attention, in the form each segment asks for.
  const MlaCore core = core_of(args, b);
  MlaAbsorbed::forward(w, core, c, segments, caches, T);
  MlaExpanded::forward(w, core, c, segments, caches);

  // 4. Heads together again.
  part.next(ModelPart::kProjections);
  matmul_together(c, {product(w.o_proj, rows_for(c, {&w.o_proj}, b.o, T, w.o_proj.K, b.o_q), y, T)});
}

}  // namespace kl
