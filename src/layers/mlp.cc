#include "layers/mlp.h"

namespace kl {
namespace {

/// Scratch of one forward().
struct Buffers {
  float* x_q;      // x quantised
  float* hidden;   // [T, F] silu(gate) * up, in f32 or quantised
  float* workers;  // [workers, 2 most_task_floats] gate and up of a task
  Buffers(const MlpWeights& w, Arena& arena, std::ptrdiff_t T, int num_workers)
      : x_q(arena.take(quantized_floats(T, w.gate_proj.K))),
        hidden(arena.take(hidden_floats(T, w.gate_proj.N))),
        workers(arena.take(num_workers * 2 * most_task_floats(T))) {}
};

}  // namespace

void KimiMLP::plan(const MlpWeights& w, Arena& arena, std::ptrdiff_t T, int workers) {
  const ArenaScope scope(arena);
  Buffers(w, arena, T, workers);
}

void KimiMLP::hidden(const MlpWeights& w, const Kernels& kernels, const Rows& in, std::ptrdiff_t M, std::ptrdiff_t f0,
                     std::ptrdiff_t f1, float* scratch, const HiddenRows& out) noexcept {
  const std::ptrdiff_t F = w.gate_proj.N, n = f1 - f0;
  float *gate = scratch, *up = scratch + M * n;
  MatmulArgs gate_args = product(matrix_rows(w.gate_proj, f0, f1), in, gate, M);
  const MatmulArgs up_args = product(matrix_rows(w.up_proj, f0, f1), in, up, M);
  gate_args.next = up_args.w.data;
  kernels.matmul(gate_args, 0, n);
  kernels.matmul(up_args, 0, n);
  for (std::ptrdiff_t m = 0; m < M; ++m, gate += n, up += n) {
    kernels.silu_mul(gate, up, n, out.q ? gate : out.x + m * F + f0);
    if (out.q) kernels.quantize_row(gate, F, out.q + m * ActivationRow::bytes(F), f0, f1);
  }
}

void KimiMLP::forward(const MlpWeights& w, const LayerContext& c, const float* x, std::ptrdiff_t T, float* y) noexcept {
  const ArenaScope scope(c.arena);
  const PartScope part(c.profiler, ModelPart::kExperts);
  const Buffers b(w, c.arena, T, c.pool.size());
  const std::ptrdiff_t F = w.gate_proj.N;
  const Rows in = rows_for(c, {&w.gate_proj, &w.up_proj}, x, T, w.gate_proj.K, b.x_q);
  const HiddenRows hidden = hidden_rows(c, w.down_proj, b.hidden);
  count_products(c.profiler, {product(w.gate_proj, in, nullptr, T), product(w.up_proj, in, nullptr, T)});

  const std::ptrdiff_t step = outputs_per_task(F, T, c.pool.size());
  c.pool.parallel_for(ceil_div(F, step), [&](std::ptrdiff_t task, int worker) {
    KimiMLP::hidden(w, c.kernels, in, T, task * step, std::min(F, (task + 1) * step),
                    b.workers + worker * 2 * most_task_floats(T), hidden);
  });
  matmul_together(c, {product(w.down_proj, hidden.read(), y, T)});
}

}  // namespace kl
