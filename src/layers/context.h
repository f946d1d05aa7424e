#pragma once
// What every layer is given besides its weights, its state and its input.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "base/arena.h"
#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "kl/options.h"
#include "layers/profiler.h"

namespace kl {

/// How the layers of a model compute and remember: ModelOptions with every "auto" decided that can be.
struct LayerSettings {
  MlaForm mla_form = MlaForm::kAuto;
  RouterWeights router_weights = RouterWeights::kUnbiased;
  Compute compute = Compute::kAuto;
  LatentType latents = LatentType::kF32;
  DType kda_state = DType::kF32;  ///< or kBF16
};

/// Hears of matrix products before they are computed: their inputs are there, their outputs are not.  Those of MLA's
/// expanded form, which writes its inputs block by block, it does not hear of.
class ProductObserver {
 public:
  virtual ~ProductObserver() = default;

  /// Called on the thread that owns the pool, between its regions, in the order of the pass.
  virtual void on_product(const MatmulArgs& product) noexcept = 0;
};

/// The machine a layer runs on: kernels, threads and scratch memory.  Passed by reference; two models may coexist.
struct LayerContext {
  const Kernels& kernels;
  ThreadPool& pool;
  Arena& arena;
  const LayerSettings& settings;
  Profiler* profiler = nullptr;         ///< null: nobody counts
  ProductObserver* products = nullptr;  ///< null: nobody listens

  /// Do products with w read quantised rows?
  bool quantizes(const WeightMatrix& w) const noexcept {
    return settings.compute == Compute::kAuto && w.type == DType::kPacked;
  }
};

/// The rows of a pass that belong to one sequence.  A pass packs the new tokens of all its sequences row after row,
/// without padding: row t of segment s is row s.first + t of every [T, ...] tensor.
struct Segment {
  std::ptrdiff_t first = 0;
  std::ptrdiff_t count = 0;
  MlaForm form = MlaForm::kAbsorbed;  ///< kAbsorbed or kExpanded, the same for all passes of a call (mla_attention.h)
  std::ptrdiff_t tentative = 0;       ///< the last so many rows may be taken back (KdaHeldTokens)

  bool expanded() const { return form == MlaForm::kExpanded; }  ///< else absorbed
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

/// a / b rounded up.
constexpr std::ptrdiff_t ceil_div(std::ptrdiff_t a, std::ptrdiff_t b) { return (a + b - 1) / b; }

/// Calls f(t) for every 0 <= t < T, split over the threads.
template <class F>
void for_each_token(const LayerContext& c, std::ptrdiff_t T, F&& f) noexcept {
  c.pool.parallel_for(ceil_div(T, kTokensPerTask), [&](std::ptrdiff_t task, int) {
    const std::ptrdiff_t end = std::min(T, (task + 1) * kTokensPerTask);
    for (std::ptrdiff_t t = task * kTokensPerTask; t < end; ++t) f(t);
  });
}

/// Tells those who count or listen of products that are about to be computed.
inline void announce(const LayerContext& c, std::initializer_list<MatmulArgs> products) noexcept {
  for (const MatmulArgs& p : products) {
    if (c.profiler != nullptr) c.profiler->count_product(p.w, p.M, arithmetic_of(p));
    if (c.products != nullptr) c.products->on_product(p);
  }
}

/// The product with its tokens m0 <= m < m1 alone.
inline MatmulArgs tokens_of(MatmulArgs p, std::ptrdiff_t m0, std::ptrdiff_t m1) noexcept {
  if (p.x != nullptr) p.x += m0 * p.x_stride;
  if (p.q != nullptr) p.q += m0 * ActivationRow::bytes(p.w.K);
  p.y += m0 * p.y_stride;
  p.M = m1 - m0;
  return p;
}

/// How a region of products is cut: every matrix into stretches of `outputs`, and the tokens into `parts`.
struct ProductCut {
  std::ptrdiff_t outputs, parts = 1;

  /// For products with M tokens each and `total` outputs in all.
  ///
  /// Where outputs alone make fewer tasks than keep all threads busy (the router has 256 of them), many tokens are cut
  /// too, 32 or more to a task so that it reads its weights for enough of them, and few tokens get shorter stretches.
  ProductCut(std::ptrdiff_t total, std::ptrdiff_t M, int threads) noexcept
      : outputs(outputs_per_task(total, M, threads)) {
    constexpr std::ptrdiff_t kLeastTokens = 32;
    const std::ptrdiff_t tasks = ceil_div(total, outputs), wanted = 8 * threads;
    if (threads == 1 || tasks >= wanted) return;
    if (M >= 2 * kLeastTokens) {
      parts = std::min(ceil_div(wanted, tasks), M / kLeastTokens);
    } else if (tasks < threads) {
      outputs = kTileOutputs;
    }
  }
};

/// Runs several matrix products as one parallel region: a thread that finishes early goes on with the next matrix.
/// REQUIRES: all have the same number of tokens.
inline void matmul_together(const LayerContext& c, std::initializer_list<MatmulArgs> products) noexcept {
  announce(c, products);
  const std::ptrdiff_t M = products.begin()->M;
  std::ptrdiff_t total = 0, num_tasks = 0;
  for (const MatmulArgs& p : products) total += p.w.N;
  const ProductCut cut(total, M, c.pool.size());
  for (const MatmulArgs& p : products) num_tasks += ceil_div(p.w.N, cut.outputs);
  c.pool.parallel_for(num_tasks * cut.parts, [&](std::ptrdiff_t task, int) {
    const std::ptrdiff_t part = task % cut.parts;
    task /= cut.parts;
    for (const MatmulArgs& p : products) {
      const std::ptrdiff_t tasks_here = ceil_div(p.w.N, cut.outputs);
      if (task < tasks_here) {
        const MatmulArgs mine = tokens_of(p, M * part / cut.parts, M * (part + 1) / cut.parts);
        c.kernels.matmul(mine, task * cut.outputs, std::min(p.w.N, (task + 1) * cut.outputs));
        return;
      }
      task -= tasks_here;
    }
  });
}

/// Contiguous rows [.., K] of activations: in f32, quantised, or both, and a product reads the form its weights want.
template <class Float, class Byte>
struct RowsOf {
  Float* x = nullptr;  ///< nullptr: quantised only
  Byte* q = nullptr;   ///< ActivationRow::bytes(K) apart; nullptr: in f32 only, and products are computed in f32

  /// The rows from `row` on.
  RowsOf from(std::ptrdiff_t row, std::ptrdiff_t K) const {
    return {x ? x + row * K : nullptr, q ? q + row * ActivationRow::bytes(K) : nullptr};
  }
  /// The same rows, to read.
  RowsOf<const Float, const Byte> read() const { return {x, q}; }
};
using Rows = RowsOf<const float, const std::byte>;
using RowsToWrite = RowsOf<float, std::byte>;

/// Bytes of `count` quantised rows.
constexpr std::ptrdiff_t quantized_bytes(std::ptrdiff_t count, std::ptrdiff_t K) {
  return count * ActivationRow::bytes(K);
}

/// Bytes of `count` rows of either form.
constexpr std::ptrdiff_t row_bytes(std::ptrdiff_t count, std::ptrdiff_t K) {
  return std::max(count * K * static_cast<std::ptrdiff_t>(sizeof(float)), quantized_bytes(count, K));
}

/// Rows of one form in `storage`, of row_bytes().
inline RowsToWrite rows_in(std::byte* storage, bool quantized) noexcept {
  if (quantized) return {nullptr, storage};
  return {reinterpret_cast<float*>(storage), nullptr};
}

/// Quantises x [T, K] once for all products that read it, if one of them wants that.
/// Shapes    storage: quantized_bytes(T, K).
inline Rows rows_for(const LayerContext& c, std::initializer_list<const WeightMatrix*> readers, const float* x,
                     std::ptrdiff_t T, std::ptrdiff_t K, std::byte* storage) noexcept {
  if (std::none_of(readers.begin(), readers.end(), [&](const WeightMatrix* w) { return c.quantizes(*w); })) return {x};
  for_each_token(
      c, T, [&](std::ptrdiff_t t) { c.kernels.quantize_row(x + t * K, K, storage + quantized_bytes(t, K), 0, K); });
  return {x, storage};
}

/// Rows n0 <= n < n1 of a matrix.  REQUIRES: n0 a multiple of kTileOutputs where it is packed.
inline WeightMatrix matrix_rows(const WeightMatrix& w, std::ptrdiff_t n0, std::ptrdiff_t n1) {
  WeightMatrix part = w;
  part.N = n1 - n0;
  part.data = static_cast<const std::byte*>(w.data) +
              (w.type == DType::kPacked ? n0 / kTileOutputs * w.format.block_bytes(w.K)
                                        : n0 * w.stride * static_cast<std::ptrdiff_t>(size_of(w.type)));
  return part;
}

/// y [M, N] = x [M, K] W^T with contiguous rows.
inline MatmulArgs product(const WeightMatrix& w, const Rows& x, float* y, std::ptrdiff_t M) {
  return {.w = w, .x = x.x, .x_stride = w.K, .y = y, .y_stride = w.N, .M = M, .q = x.q};
}

}  // namespace kl
