#include "layers/mlp.h"

namespace kl {
namespace {

/// Scratch of one forward().
struct Buffers {
  float* gate;            // [T, F], becomes silu(gate) * up
  float* up;              // [T, F]
  float *x_q, *hidden_q;  // x and gate quantised
  Buffers(const MlpWeights& w, Arena& arena, std::ptrdiff_t T)
      : gate(arena.take(T * w.gate_proj.N)),
        up(arena.take(T * w.up_proj.N)),
        x_q(arena.take(quantized_floats(T, w.gate_proj.K))),
        hidden_q(arena.take(quantized_floats(T, w.down_proj.K))) {}
};

}  // namespace

void KimiMLP::plan(const MlpWeights& w, Arena& arena, std::ptrdiff_t T) {
  const ArenaScope scope(arena);
  Buffers(w, arena, T);
}

void KimiMLP::forward(const MlpWeights& w, const LayerContext& c, const float* x, std::ptrdiff_t T, float* y) noexcept {
  const ArenaScope scope(c.arena);
  const PartScope part(c.profiler, ModelPart::kExperts);
  const Buffers b(w, c.arena, T);
  const std::ptrdiff_t F = w.gate_proj.N;
  const Rows rows = rows_for(c, {&w.gate_proj, &w.up_proj}, x, T, w.gate_proj.K, b.x_q);
  const MatmulArgs gate = product(w.gate_proj, rows, b.gate, T), up = product(w.up_proj, rows, b.up, T);
  count_products(c.profiler, {gate, up});

  // Gate and up share their input: one task computes both for some hidden channels and combines them while in cache.
  const std::ptrdiff_t step = outputs_per_task(F, T, c.pool.size());
  c.pool.parallel_for(ceil_div(F, step), [&](std::ptrdiff_t task, int) {
    const std::ptrdiff_t f0 = task * step, f1 = std::min(F, f0 + step);
    c.kernels.matmul(gate, f0, f1);
    c.kernels.matmul(up, f0, f1);
    for (std::ptrdiff_t t = 0; t < T; ++t)
      c.kernels.silu_mul(b.gate + t * F + f0, b.up + t * F + f0, f1 - f0, b.gate + t * F + f0);
  });
  matmul_together(c, {product(w.down_proj, rows_for(c, {&w.down_proj}, b.gate, T, F, b.hidden_q), y, T)});
}

}  // namespace kl
