#include <algorithm>
#include <cmath>
#include <utility>

#include "layers/mla_forms.h"

namespace kl {
namespace {

/// Scratch of one head for `T` queries: every lane group keeps its running softmax while the keys pass by.
struct HeadScratch {
  float* rows;          // [kKeyBlock, R + P] a block of the cache, if it is not f32
  float* keys;          // [kKeyBlock, N]
  float* values;        // [kKeyBlock, V]
  float* scores;        // [kKeyBlock, kLanes]
  std::int64_t* limit;  // [groups, kLanes]
  float* q;             // [groups, N, kLanes]
  float* q_pe;          // [groups, P, kLanes]
  float* m;             // [groups, kLanes]
  float* l;             // [groups, kLanes]
  float* O;             // [groups, V, kLanes]
  float* w_uk;          // [R, N] of the head in f32, if packed
  float* w_uv;          // [V, R]

  HeadScratch(float* p, const MlaCore& core, std::ptrdiff_t T) {
    const std::ptrdiff_t groups = ceil_div(T, kLanes);
    const auto take = [&p](std::ptrdiff_t n) { return std::exchange(p, p + n); };
    rows = take(kKeyBlock * (core.R + core.P));
    keys = take(kKeyBlock * core.N);
    values = take(kKeyBlock * core.V);
    scores = take(kKeyBlock * kLanes);
    limit = reinterpret_cast<std::int64_t*>(take(groups * kLanes * 2));
    q = take(groups * core.N * kLanes);
    q_pe = take(groups * core.P * kLanes);
    m = take(groups * kLanes);
    l = take(groups * kLanes);
    O = take(groups * core.V * kLanes);
    w_uk = take(core.R * core.N);  // last: of any size, while all above are whole cache lines
    w_uv = take(core.V * core.R);
  }

  static std::ptrdiff_t floats(const MlaCore& core, std::ptrdiff_t T) {
    const std::ptrdiff_t groups = ceil_div(T, kLanes);
    return core.R * (core.N + core.V) + kKeyBlock * (core.R + core.P + core.N + core.V + kLanes) +
           groups * kLanes * (2 + core.N + core.P + 2 + core.V);
  }
};

/// Queries of one head, one per lane, and how many keys each may see.
void load_queries(const Kernels& kernels, const MlaCore& core, const Segment& segment, std::int64_t start,
                  std::ptrdiff_t head, const HeadScratch& s) noexcept {
  for (std::ptrdiff_t g = 0; g * kLanes < segment.count; ++g) {
    const std::ptrdiff_t rows = std::min(kLanes, segment.count - g * kLanes);
    const float* src[kLanes];
    const float* src_pe[kLanes];
    for (std::ptrdiff_t lane = 0; lane < kLanes; ++lane) s.limit[g * kLanes + lane] = 0;
    for (std::ptrdiff_t lane = 0; lane < rows; ++lane) {
      const std::ptrdiff_t t = g * kLanes + lane;
      src[lane] = core.q + ((segment.first + t) * core.H + head) * (core.N + core.P);
      src_pe[lane] = src[lane] + core.N;
      s.limit[t] = start + t + 1;
    }
    kernels.pack_lanes(src, rows, core.N, s.q + g * core.N * kLanes);
    kernels.pack_lanes(src_pe, rows, core.P, s.q_pe + g * core.P * kLanes);
  }
}

/// The matrix itself, or unpacked into `storage`: it will meet every cached row.
WeightMatrix unpacked(const Kernels& kernels, const WeightMatrix& w, float* storage) noexcept {
  if (w.type != DType::kPacked) return w;
  for (std::ptrdiff_t n = 0; n < w.N; ++n) kernels.weight_row(w, n, storage + n * w.K);
  return {storage, DType::kF32, w.N, w.K, w.K};
}

}  // namespace

// Rounded up to a cache line: two threads never write to the same one.
MlaExpanded::MlaExpanded(const MlaCore& core, Arena& arena, std::ptrdiff_t T, int workers)
    : core_(core),
      stride_(ceil_div(std::max(HeadScratch::floats(core, T), bf16_floats(core, T)), 16) * 16),
      scratch_(arena.take(workers * stride_)) {}

void MlaExpanded::attend_head(const MlaWeights& w, const LayerContext& c, const Segment& segment, const MlaCache& cache,
                              std::ptrdiff_t head, float* scratch) noexcept {
  const auto [H, N, P, R, V, scale, q, o] = core_;
  const HeadScratch s(scratch, core_, segment.count);
  const std::ptrdiff_t groups = ceil_div(segment.count, kLanes), stride = R + P;
  const std::int64_t num_keys = cache.num_tokens(), start = num_keys - segment.count;
  const WeightMatrix w_uk = unpacked(c.kernels, w.w_uk[static_cast<std::size_t>(head)], s.w_uk);
  const WeightMatrix w_uv = unpacked(c.kernels, w.w_uv[static_cast<std::size_t>(head)], s.w_uv);
  load_queries(c.kernels, core_, segment, start, head, s);
  std::fill_n(s.m, groups * kLanes, -INFINITY);
  std::fill_n(s.l, groups * kLanes, 0.0f);
  std::fill_n(s.O, groups * V * kLanes, 0.0f);

  for (std::int64_t pos = 0; pos < num_keys; pos += kKeyBlock) {
    const std::ptrdiff_t n = static_cast<std::ptrdiff_t>(std::min<std::int64_t>(kKeyBlock, num_keys - pos));
    const float* rows = cached_rows(c.kernels, cache, pos, n, s.rows);
    // Expand this block once: every query of the chunk uses it while it sits in cache.
    c.kernels.matmul_transposed({.w = w_uk, .x = rows, .x_stride = stride, .y = s.keys, .y_stride = N, .M = n});
    c.kernels.matmul({.w = w_uv, .x = rows, .x_stride = stride, .y = s.values, .y_stride = V, .M = n}, 0, V);
    for (std::ptrdiff_t g = 0; g < groups; ++g) {
      if (start + std::min(segment.count, (g + 1) * kLanes) <= pos) continue;  // every query of the group lies before
      c.kernels.attend({.q = s.q + g * N * kLanes,
                        .q_pe = s.q_pe + g * P * kLanes,
                        .limit = s.limit + g * kLanes,
                        .k = s.keys,
                        .k_stride = N,
                        .k_pe = rows + R,
                        .pe_stride = stride,
                        .v = s.values,
                        .v_stride = V,
                        .C = N,
                        .P = P,
                        .Dv = V,
                        .n = n,
                        .position = pos,
                        .scale = scale,
                        .state = {.m = s.m + g * kLanes, .l = s.l + g * kLanes, .O = s.O + g * V * kLanes},
                        .scores = s.scores});
    }
  }
  for (std::ptrdiff_t g = 0; g < groups; ++g) {
    const std::ptrdiff_t rows = std::min(kLanes, segment.count - g * kLanes);
    float* dst[kLanes];
    for (std::ptrdiff_t lane = 0; lane < rows; ++lane)
      dst[lane] = o + ((segment.first + g * kLanes + lane) * H + head) * V;
    c.kernels.attend_finish({.m = s.m + g * kLanes, .l = s.l + g * kLanes, .O = s.O + g * V * kLanes}, V, dst, rows);
  }
}

void MlaExpanded::forward(const MlaWeights& w, const LayerContext& c, const Segment& segment,
                          const MlaCache& cache) noexcept {
  if (c.profiler != nullptr) {
    const Arithmetic kind = arithmetic_of(c, cache);
    for (const auto* matrices : {&w.w_uk, &w.w_uv})
      for (const WeightMatrix& matrix : *matrices)
        c.profiler->count_product(matrix, static_cast<std::ptrdiff_t>(cache.num_tokens()), kind);
    const std::ptrdiff_t per_pair = core_.H * (core_.N + core_.P + core_.V);
    c.profiler->count_ops(kind, 2 * count_pairs(segment, cache.num_tokens()) * static_cast<double>(per_pair));
  }
  const bool bf16 = multiplies_bf16(c, cache);
  c.pool.parallel_for(core_.H, [&](std::ptrdiff_t head, int worker) {
    float* scratch = scratch_ + worker * stride_;
    bf16 ? attend_head_bf16(w, c, segment, cache, head, scratch) : attend_head(w, c, segment, cache, head, scratch);
  });
}

}  // namespace kl
