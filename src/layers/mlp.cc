#include "layers/mlp.h"

namespace kl {
namespace {

/// Scratch of one forward().
struct Buffers {
  std::byte* x_q;                 // x quantised
  std::byte* hidden;              // [T, F] silu(gate) * up, in f32 or quantised
  ArenaArray<GateAndUp> workers;  // [workers]

  /// For T tokens.
  Buffers(const MlpWeights& w, Arena& arena, std::ptrdiff_t T, int num_workers)
      : x_q(arena.take<std::byte>(quantized_bytes(T, w.gate_proj.K))),
        hidden(arena.take<std::byte>(row_bytes(T, w.gate_proj.N))),
        workers(arena, num_workers, T) {}
};

}  // namespace

void KimiMLP::plan(const MlpWeights& w, Arena& arena, std::ptrdiff_t T, int workers) {
  const ArenaScope scope(arena);
  Buffers(w, arena, T, workers);
}

void KimiMLP::hidden(const MlpWeights& w, const Kernels& kernels, const Rows& in, std::ptrdiff_t M, std::ptrdiff_t f0,
                     std::ptrdiff_t f1, const GateAndUp& scratch, const RowsToWrite& out) noexcept {
  const std::ptrdiff_t F = w.gate_proj.N, n = f1 - f0;
  float *gate = scratch.gate, *up = scratch.up;
  MatmulArgs gate_args = product(matrix_rows(w.gate_proj, f0, f1), in, gate, M);
  const MatmulArgs up_args = product(matrix_rows(w.up_proj, f0, f1), in, up, M);
  gate_args.next = up_args.w.data;
  kernels.matmul(gate_args, 0, n);
  kernels.matmul(up_args, 0, n);
  for (std::ptrdiff_t m = 0; m < M; ++m, gate += n, up += n) {
    kernels.silu_mul(gate, up, n, out.q ? gate : out.x + m * F + f0);
    if (out.q) kernels.quantize_row(gate, F, out.q + quantized_bytes(m, F), f0, f1);
  }
}

void KimiMLP::forward(const MlpWeights& w, const LayerContext& c, const float* x, std::ptrdiff_t T, float* y) noexcept {
  const ArenaScope scope(c.arena);
  const PartScope part(c.profiler, ModelPart::kExperts);
  const Buffers b(w, c.arena, T, c.pool.size());
  const std::ptrdiff_t F = w.gate_proj.N;
  const Rows in = rows_for(c, {&w.gate_proj, &w.up_proj}, x, T, w.gate_proj.K, b.x_q);
  const RowsToWrite hidden = rows_in(b.hidden, c.quantizes(w.down_proj));

  // 1. Gate, up and what they make together, a range of hidden channels a task: it never leaves the task's cache.
  announce(c, {product(w.gate_proj, in, nullptr, T), product(w.up_proj, in, nullptr, T)});
  const std::ptrdiff_t step = outputs_per_task(F, T, c.pool.size());
  c.pool.parallel_for(ceil_div(F, step), [&](std::ptrdiff_t task, int worker) {
    KimiMLP::hidden(w, c.kernels, in, T, task * step, std::min(F, (task + 1) * step), b.workers[worker], hidden);
  });
  // 2. Down reads all hidden channels, so the region before it had to end.
  matmul_together(c, {product(w.down_proj, hidden.read(), y, T)});
}

}  // namespace kl
