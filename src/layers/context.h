#pragma once
// What every layer is given besides its weights, its state and its input.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "base/arena.h"
#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "kl/model.h"
#include "layers/profiler.h"

namespace kl {

/// The machine a layer runs on: kernels, threads and scratch memory.  Passed by reference; two models may coexist.
struct LayerContext {
  const Kernels& kernels;
  ThreadPool& pool;
  Arena& arena;
  bool integers = true;          ///< packed weights meet quantised activations, and bf16 latents queries in bf16; else
                                 ///< everything is computed in f32
  Profiler* profiler = nullptr;  ///< null: nobody counts
};

/// The rows of a pass that belong to one sequence.  A pass packs the new tokens of all its sequences row after row,
/// without padding: row t of segment s is row s.first + t of every [T, ...] tensor.
struct Segment {
  std::ptrdiff_t first = 0;
  std::ptrdiff_t count = 0;
  MlaForm form = MlaForm::kAbsorbed;  ///< kAbsorbed or kExpanded, the same for all passes of a call (mla_attention.h)
  std::ptrdiff_t tentative = 0;       ///< the last so many rows may be taken back (KdaHeldTokens)
};

/// Up to so many tokens are few: their task may compute kMostForFew outputs of a matrix, otherwise kMostOutputs.
inline constexpr std::ptrdiff_t kFewTokens = 8, kMostForFew = 1024, kMostOutputs = 256;

/// Outputs of a matrix that one task computes, of `outputs` in the whole region, for M tokens.
///
/// Weights that come from RAM want long stretches: within a task the next rows are pulled in while these are used, at its
/// start nobody has done so.  But eight tasks a thread even out what the threads get, and what many tokens make of a task
/// should stay in cache.
inline std::ptrdiff_t outputs_per_task(std::ptrdiff_t outputs, std::ptrdiff_t M, int threads) noexcept {
  constexpr std::ptrdiff_t kLeast = 64;
  return std::clamp(outputs / (8 * threads) / kLeast * kLeast, kLeast, M > kFewTokens ? kMostOutputs : kMostForFew);
}

/// Numbers that a task's outputs for at most T tokens are: scratch for those who keep them to themselves.
constexpr std::ptrdiff_t most_task_floats(std::ptrdiff_t T) {
  return std::max(T * kMostOutputs, std::min(T, kFewTokens) * kMostForFew);
}

/// Tokens one task handles where work is per token and cheap.
inline constexpr std::ptrdiff_t kTokensPerTask = 16;

constexpr std::ptrdiff_t ceil_div(std::ptrdiff_t a, std::ptrdiff_t b) { return (a + b - 1) / b; }

/// Calls f(t) for every 0 <= t < T, split over the threads.
template <class F>
void for_each_token(const LayerContext& c, std::ptrdiff_t T, F&& f) noexcept {
  c.pool.parallel_for(ceil_div(T, kTokensPerTask), [&](std::ptrdiff_t task, int) {
    const std::ptrdiff_t end = std::min(T, (task + 1) * kTokensPerTask);
    for (std::ptrdiff_t t = task * kTokensPerTask; t < end; ++t) f(t);
  });
}

/// Runs several matrix products as one parallel region: a thread that finishes early goes on with the next matrix.
inline void matmul_together(const LayerContext& c, std::initializer_list<MatmulArgs> products) noexcept {
  count_products(c.profiler, products);
  std::ptrdiff_t outputs = 0, num_tasks = 0;
  for (const MatmulArgs& p : products) outputs += p.w.N;
  const std::ptrdiff_t step = outputs_per_task(outputs, products.begin()->M, c.pool.size());
  for (const MatmulArgs& p : products) num_tasks += ceil_div(p.w.N, step);
  c.pool.parallel_for(num_tasks, [&](std::ptrdiff_t task, int) {
    for (const MatmulArgs& p : products) {
      const std::ptrdiff_t tasks_here = ceil_div(p.w.N, step);
      if (task < tasks_here) {
        c.kernels.matmul(p, task * step, std::min(p.w.N, (task + 1) * step));
        return;
      }
      task -= tasks_here;
    }
  });
}

/// Contiguous rows [T, K] that matrix products read: in f32 and, where packed weights want them so, quantised.
struct Rows {
  const float* x = nullptr;
  const std::byte* q = nullptr;  ///< ActivationRow::bytes(K) apart; nullptr: products are computed in f32
};

/// Rows n0 <= n < n1 of a matrix.  REQUIRES: n0 a multiple of kTileOutputs where it is packed.
inline WeightMatrix matrix_rows(const WeightMatrix& w, std::ptrdiff_t n0, std::ptrdiff_t n1) {
  WeightMatrix part = w;
  part.N = n1 - n0;
  part.data = static_cast<const std::byte*>(w.data) +
              (w.type == DType::kPacked ? n0 / kTileOutputs * w.format.block_bytes(w.K)
                                        : n0 * w.stride * static_cast<std::ptrdiff_t>(size_of(w.type)));
  return part;
}

/// Floats of scratch for `rows` quantised rows.
constexpr std::ptrdiff_t quantized_floats(std::ptrdiff_t rows, std::ptrdiff_t K) {
  return rows * ActivationRow::bytes(K) / static_cast<std::ptrdiff_t>(sizeof(float));
}

/// Quantises x [T, K] once for all products that read it, if the weights of one of them are packed.
/// Shapes    storage: quantized_floats(T, K).
inline Rows rows_for(const LayerContext& c, std::initializer_list<const WeightMatrix*> readers, const float* x,
                     std::ptrdiff_t T, std::ptrdiff_t K, float* storage) noexcept {
  const auto is_packed = [](const WeightMatrix* w) { return w->type == DType::kPacked; };
  if (!c.integers || std::none_of(readers.begin(), readers.end(), is_packed)) return {x, nullptr};
  auto* q = reinterpret_cast<std::byte*>(storage);
  for_each_token(
      c, T, [&](std::ptrdiff_t t) { c.kernels.quantize_row(x + t * K, K, q + t * ActivationRow::bytes(K), 0, K); });
  return {x, q};
}

/// y [M, N] = x [M, K] W^T with contiguous rows.
inline MatmulArgs product(const WeightMatrix& w, const Rows& x, float* y, std::ptrdiff_t M) {
  return {.w = w, .x = x.x, .x_stride = w.K, .y = y, .y_stride = w.N, .M = M, .q = x.q};
}

}  // namespace kl
