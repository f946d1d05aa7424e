#include <algorithm>
#include <cstring>

#include "layers/mla_lanes.h"

namespace kl {
namespace {

/// Queries are a head's own, keys and values are computed for them.
LaneDims dims_of(const MlaCore& core) { return {.C = core.N, .P = core.P, .Dv = core.V, .scale = core.scale}; }

/// n rounded up to whole panels of kLanes outputs.
constexpr std::ptrdiff_t padded(std::ptrdiff_t n) { return ceil_div(n, kLanes) * kLanes; }

/// The two matrices of one head.
struct HeadMatrices {
  WeightMatrix w_uk;  // [R, N]
  WeightMatrix w_uv;  // [V, R]
};

/// Where a head's keys and values are computed, a block of the cache after the other.
template <class Element>
struct Expansion;

template <>
struct Expansion<float> {
  float* rows;    // [kKeyBlock, R + P] a block of the cache, if it is not f32
  float* keys;    // [kKeyBlock, N]
  float* values;  // [kKeyBlock, V]
  float* w_uk;    // [R, N] of the head in f32, if packed
  float* w_uv;    // [V, R]

  /// For any head.
  Expansion(Arena& arena, const MlaCore& core)
      : rows(arena.take<float>(kKeyBlock * (core.R + core.P))),
        keys(arena.take<float>(kKeyBlock * core.N)),
        values(arena.take<float>(kKeyBlock * core.V)),
        w_uk(arena.take<float>(core.R * core.N)),
        w_uv(arena.take<float>(core.V * core.R)) {}

  /// The matrices as block() takes them: unpacked, since they will meet every cached row.
  HeadMatrices load(const Kernels& kernels, const MlaCore&, const HeadMatrices& head) const noexcept {
    const auto unpacked = [&](const WeightMatrix& w, float* storage) -> WeightMatrix {
      if (w.type != DType::kPacked) return w;
      for (std::ptrdiff_t n = 0; n < w.N; ++n) kernels.weight_row(w, n, storage + n * w.K);
      return {storage, DType::kF32, w.N, w.K, w.K};
    };
    return {unpacked(head.w_uk, w_uk), unpacked(head.w_uv, w_uv)};
  }

  /// n cached rows from position `pos` on, as keys and values: k_h = [W_UK,h c | k_p], v_h = W_UV,h c.
  KeyBlock<float> block(const Kernels& kernels, const MlaCore& core, const HeadMatrices& head, const MlaCache& cache,
                        std::int64_t pos, std::ptrdiff_t n) const noexcept {
    const std::ptrdiff_t N = core.N, V = core.V, stride = core.R + core.P;
    const float* latents = cached_rows(kernels, cache, pos, n, rows);
    kernels.matmul_transposed({.w = head.w_uk, .x = latents, .x_stride = stride, .y = keys, .y_stride = N, .M = n});
    kernels.matmul({.w = head.w_uv, .x = latents, .x_stride = stride, .y = values, .y_stride = V, .M = n}, 0, V);
    return {pos, n, keys, N, latents + core.R, stride, values, V};
  }
};

template <>
struct Expansion<Bf16Pair> {
  float* sums;       // [kKeyBlock, most] keys or values of a block before they are rounded
  float* lanes;      // [most, kLanes] outputs of a panel before they are paired
  Bf16Pair* w_uk;    // [N / kLanes, R / 2, kLanes] panels of outputs
  Bf16Pair* w_uv;    // [V / kLanes, R / 2, kLanes]
  Bf16Pair* keys;    // [kKeyBlock, (N + P) / 2]
  Bf16Pair* values;  // [kKeyBlock / 2, V] pairs of keys

  /// For any head.
  Expansion(Arena& arena, const MlaCore& core) {
    const std::ptrdiff_t most = padded(std::max({core.R, core.N + core.P, core.V}));
    sums = arena.take<float>(kKeyBlock * most);
    lanes = arena.take<float>(most * kLanes);
    w_uk = arena.take<Bf16Pair>(padded(core.N) * elements<Bf16Pair>(core.R));
    w_uv = arena.take<Bf16Pair>(padded(core.V) * elements<Bf16Pair>(core.R));
    keys = arena.take<Bf16Pair>(kKeyBlock * elements<Bf16Pair>(core.N + core.P));
    values = arena.take<Bf16Pair>(kKeyBlock / 2 * core.V);
  }

  /// The matrices as panels of outputs, rounded and paired along R: they will meet every cached row.
  HeadMatrices load(const Kernels& kernels, const MlaCore& core, const HeadMatrices& head) const noexcept {
    const std::ptrdiff_t R = core.R, panel = elements<Bf16Pair>(R) * kLanes, stride = padded(core.N);
    // W_UK lies transposed: two of its rows, padded to panels, are one row of pairs in each panel.
    float* two = sums;
    std::fill_n(two, 2 * stride, 0.0f);
    for (std::ptrdiff_t r = 0; r < R; r += 2) {
      const std::ptrdiff_t rows = std::min<std::ptrdiff_t>(2, R - r);
      for (std::ptrdiff_t i = 0; i < rows; ++i) kernels.weight_row(head.w_uk, r + i, two + i * stride);
      for (std::ptrdiff_t n = 0; n < core.N; n += kLanes)
        kernels.pair_rows(
            {two + n, DType::kF32, stride, rows, kLanes, w_uk + n / kLanes * panel + r / 2 * kLanes, kLanes});
    }
    // kLanes rows of W_UV, one per lane, are a panel.
    for (std::ptrdiff_t v = 0; v < core.V; v += kLanes) {
      const std::ptrdiff_t rows = std::min(kLanes, core.V - v);
      const float* src[kLanes];
      for (std::ptrdiff_t i = 0; i < rows; ++i) {
        src[i] = sums + i * R;
        kernels.weight_row(head.w_uv, v + i, sums + i * R);
      }
      kernels.pack_lanes(src, rows, R, lanes);
      kernels.pair_rows({lanes, DType::kF32, kLanes, R, kLanes, w_uv + v / kLanes * panel, kLanes});
    }
    return head;
  }

  /// As that of Expansion<float>, with keys and values rounded.
  KeyBlock<Bf16Pair> block(const Kernels& kernels, const MlaCore& core, const HeadMatrices&, const MlaCache& cache,
                           std::int64_t pos, std::ptrdiff_t n) const noexcept {
    const std::ptrdiff_t key = core.N + core.P, k_stride = elements<Bf16Pair>(key), stride = pairs_stride(cache);
    const Bf16Pair* latents = cached_pairs(cache, pos);
    kernels.matmul_bf16({w_uk, core.N, core.R, latents, stride, sums, padded(core.N), n});
    const LatentFormat rounded{LatentType::kBf16, core.N, 0};
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      auto* row = reinterpret_cast<std::byte*>(keys + i * k_stride);
      kernels.store_latent(rounded, sums + i * padded(core.N), row);
      const auto* pe = reinterpret_cast<const std::byte*>(latents + i * stride) + 2 * core.R;
      std::memcpy(row + 2 * core.N, pe, static_cast<std::size_t>(2 * core.P));
      if (key % 2 != 0) std::memset(row + 2 * key, 0, 2);
    }
    kernels.matmul_bf16({w_uv, core.V, core.R, latents, stride, sums, padded(core.V), n});
    kernels.pair_rows({sums, DType::kF32, padded(core.V), n, core.V, values, core.V});
    return {pos, n, keys, k_stride, values};
  }
};

/// kLanes queries of a head, which keep their running softmax while the keys pass by.
template <class Element>
struct Group {
  LaneQueries<Element> queries;
  Softmax softmax;

  /// For any head.
  Group(Arena& arena, const MlaCore& core) : queries(arena, dims_of(core)), softmax(arena, core.V) {}
};

/// Scratch of one thread, for one head and T queries at a time.
template <class Element>
struct HeadScratch {
  Expansion<Element> expansion;
  float* lanes;                       // load_floats()
  float* scores;                      // [kKeyBlock, kLanes]
  ArenaArray<Group<Element>> groups;  // [ceil(T / kLanes)]

  /// For any head.
  HeadScratch(Arena& arena, const MlaCore& core, std::ptrdiff_t T)
      : expansion(arena, core),
        lanes(arena.take<float>(load_floats<Element>(dims_of(core)))),
        scores(arena.take<float>(kKeyBlock * kLanes)),
        groups(arena, ceil_div(T, kLanes), core) {}
};

/// One head of one sequence.
template <class Element>
void attend_head(const MlaCore& core, const LayerContext& c, const HeadMatrices& matrices, const Segment& segment,
                 const MlaCache& cache, std::ptrdiff_t head, const HeadScratch<Element>& s) noexcept {
  const std::ptrdiff_t groups = ceil_div(segment.count, kLanes);
  const std::int64_t num_keys = cache.num_tokens(), start = num_keys - segment.count;
  const LaneDims dims = dims_of(core);
  const auto rows_of = [&](std::ptrdiff_t g) { return std::min(kLanes, segment.count - g * kLanes); };

  // 1. Queries, one per lane.  Token t of the segment sees the keys before it and its own.
  for (std::ptrdiff_t g = 0; g < groups; ++g) {
    const float *q[kLanes], *q_pe[kLanes];
    for (std::ptrdiff_t lane = 0; lane < rows_of(g); ++lane) {
      const std::ptrdiff_t t = g * kLanes + lane;
      q[lane] = core.q + ((segment.first + t) * core.H + head) * (core.N + core.P);
      q_pe[lane] = q[lane] + core.N;
      s.groups[g].queries.limit[lane] = start + t + 1;
    }
    load_queries(c.kernels, dims, q, q_pe, rows_of(g), s.lanes, s.groups[g].queries);
    clear(s.groups[g].softmax, core.V);
  }

  // 2. Each block of the cache is expanded once, and every query that sees some of it meets it while it is in cache.
  const HeadMatrices loaded = s.expansion.load(c.kernels, core, matrices);
  for (std::int64_t pos = 0; pos < num_keys; pos += kKeyBlock) {
    const auto n = static_cast<std::ptrdiff_t>(std::min<std::int64_t>(kKeyBlock, num_keys - pos));
    const KeyBlock<Element> keys = s.expansion.block(c.kernels, core, loaded, cache, pos, n);
    for (std::ptrdiff_t g = 0; g < groups; ++g) {
      if (start + g * kLanes + rows_of(g) <= pos) continue;  // every query of the group lies before
      attend(c.kernels, dims, s.groups[g].queries, keys, s.groups[g].softmax, s.scores);
    }
  }

  // 3. What the lanes have read, to where the head's outputs lie.
  for (std::ptrdiff_t g = 0; g < groups; ++g) {
    float* dst[kLanes];
    for (std::ptrdiff_t lane = 0; lane < rows_of(g); ++lane)
      dst[lane] = core.o + ((segment.first + g * kLanes + lane) * core.H + head) * core.V;
    c.kernels.attend_finish(s.groups[g].softmax, core.V, dst, rows_of(g));
  }
}

/// The expansion of every cached row by both matrices of every head, and what every pair of query and key takes.
void count(const MlaWeights& w, const MlaCore& core, const LayerContext& c, const Segment& segment,
           const MlaCache& cache) noexcept {
  const Arithmetic kind = attention_arithmetic(c);
  for (const auto* matrices : {&w.w_uk, &w.w_uv})
    for (const WeightMatrix& matrix : *matrices)
      c.profiler->count_product(matrix, static_cast<std::ptrdiff_t>(cache.num_tokens()), kind);
  const std::ptrdiff_t per_pair = core.H * (core.N + core.P + core.V);
  c.profiler->count_ops(kind, 2 * count_pairs(segment, cache.num_tokens()) * static_cast<double>(per_pair));
}

}  // namespace

void MlaExpanded::plan(const MlaCore& core, const LayerSettings& settings, Arena& arena, std::ptrdiff_t T,
                       int workers) {
  const ArenaScope scope(arena);
  with_element(settings, [&](auto e) { ArenaArray<HeadScratch<decltype(e)>>(arena, workers, core, T); });
}

void MlaExpanded::forward(const MlaWeights& w, const MlaCore& core, const LayerContext& c,
                          std::span<const Segment> segments, std::span<MlaCache* const> caches) noexcept {
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[i];
    const MlaCache& cache = *caches[i];
    if (!segment.expanded()) continue;
    const ArenaScope scope(c.arena);
    if (c.profiler != nullptr) count(w, core, c, segment, cache);
    with_element(c.settings, [&](auto element) {
      const ArenaArray<HeadScratch<decltype(element)>> workers(c.arena, c.pool.size(), core, segment.count);
      c.pool.parallel_for(core.H, [&](std::ptrdiff_t head, int worker) {
        const auto h = static_cast<std::size_t>(head);
        attend_head(core, c, {w.w_uk[h], w.w_uv[h]}, segment, cache, head, workers[worker]);
      });
    });
  }
}

}  // namespace kl
