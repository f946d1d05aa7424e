#include <algorithm>

#include "layers/mla_lanes.h"

namespace kl {
namespace {

// Long contexts are read in stretches of fixed positions.  Each stretch gives a partial softmax, and partials are
// merged in order of position: the same arithmetic whether one thread walks all stretches or many threads share them.
constexpr std::int64_t kStretch = 8 * kKeyBlock;

// Partial softmaxes kept at once when a lane group's stretches are spread over threads (66 KiB each at R = 512).
constexpr std::ptrdiff_t kMaxPartials = 64;

/// Queries are as wide as a row of the cache, which is key and value at once.
LaneDims dims_of(const MlaCore& core) { return {.C = core.R, .P = core.P, .Dv = core.R, .scale = core.scale}; }

/// Scratch of one thread.
template <class Element>
struct Worker {
  LaneQueries<Element> queries;
  float* lanes;    // load_floats()
  Element* block;  // f32: [kKeyBlock, R + P] a block of the cache, if it is not f32;  pairs: [kKeyBlock / 2, R] of keys
  float* scores;   // [kKeyBlock, kLanes]
  Softmax total;   // over all stretches so far
  Softmax part;    // over one stretch

  /// For any lane group.
  Worker(Arena& arena, const MlaCore& core)
      : queries(arena, dims_of(core)),
        lanes(arena.take<float>(load_floats<Element>(dims_of(core)))),
        block(arena.take<Element>(kIsF32<Element> ? kKeyBlock * (core.R + core.P) : kKeyBlock / 2 * core.R)),
        scores(arena.take<float>(kKeyBlock * kLanes)),
        total(arena, core.R),
        part(arena, core.R) {}
};

/// Scratch of one forward().
template <class Element>
struct Buffers {
  float* latent;                        // [T, H, R] queries in latent space, then what they read: sum_s p_s c_s
  ArenaArray<Worker<Element>> workers;  // [workers]
  ArenaArray<Softmax> partials;         // [kMaxPartials]

  /// For T rows.
  Buffers(Arena& arena, const MlaCore& core, std::ptrdiff_t T, int num_workers)
      : latent(arena.take<float>(T * core.H * core.R)),
        workers(arena, num_workers, core),
        partials(arena, kMaxPartials, core.R) {}
};

/// A block of keys in f32: rows of the cache are keys and values as they lie, or as `scratch` takes them.
KeyBlock<float> block_at(const Kernels& kernels, const MlaCore& core, const MlaCache& cache, std::int64_t pos,
                         std::ptrdiff_t n, float* scratch) noexcept {
  const float* rows = cached_rows(kernels, cache, pos, n, scratch);
  const std::ptrdiff_t stride = core.R + core.P;
  return {pos, n, rows, stride, rows + core.R, stride, rows, stride};
}

/// A block of keys in bf16: rows of the cache are keys as they lie, pairs of rows are values.
KeyBlock<Bf16Pair> block_at(const Kernels& kernels, const MlaCore& core, const MlaCache& cache, std::int64_t pos,
                            std::ptrdiff_t n, Bf16Pair* scratch) noexcept {
  const Bf16Pair* keys = cached_pairs(cache, pos);
  const std::ptrdiff_t stride = pairs_stride(cache);
  kernels.pair_rows({keys, DType::kBF16, 2 * stride, n, core.R, scratch, core.R});
  const std::int64_t next = pos + kKeyBlock, next_rows = std::min(kKeyBlock, cache.num_tokens() - next);
  if (next_rows <= 0) return {pos, n, keys, stride, scratch};
  return {pos, n, keys, stride, scratch, cache.row(next), next_rows * cache.format().row_bytes()};
}

/// kLanes consecutive (token, head) rows of one sequence, and the cache they read.
struct LaneGroup {
  const MlaCache& cache;
  std::ptrdiff_t first_row;  // token * H + head within the pass
  std::ptrdiff_t rows;       // lanes in use
  std::int64_t num_keys;     // keys its last token may see

  std::int64_t num_stretches() const noexcept { return ceil_div(num_keys, kStretch); }  ///< they lie in
};

/// Attention of a pass in latent space.
template <class Element>
struct Attention {
  const MlaCore& core;
  const LayerContext& c;
  const Buffers<Element>& b;

  /// Lays the queries of a group out one per lane and sets how many keys each may see.
  LaneGroup load(const Segment& segment, const MlaCache& cache, std::ptrdiff_t group,
                 const Worker<Element>& s) const noexcept {
    const std::ptrdiff_t first = group * kLanes, rows = std::min(kLanes, segment.count * core.H - first);
    const std::ptrdiff_t first_row = segment.first * core.H + first;
    const std::int64_t start = cache.num_tokens() - segment.count;
    const float *q[kLanes], *q_pe[kLanes];
    for (std::ptrdiff_t lane = 0; lane < rows; ++lane) {
      q[lane] = b.latent + (first_row + lane) * core.R;
      q_pe[lane] = core.q + (first_row + lane) * (core.N + core.P) + core.N;
      s.queries.limit[lane] = start + (first + lane) / core.H + 1;
    }
    load_queries(c.kernels, dims_of(core), q, q_pe, rows, s.lanes, s.queries);
    return {cache, first_row, rows, s.queries.limit[rows - 1]};
  }

  /// The softmax of a group over the keys of one stretch.
  void read_stretch(const LaneGroup& group, std::int64_t stretch, const LaneQueries<Element>& queries,
                    const Worker<Element>& scratch, const Softmax& state) const noexcept {
    state.clear(core.R);
    const std::int64_t end = std::min(group.num_keys, (stretch + 1) * kStretch);
    for (std::int64_t pos = stretch * kStretch; pos < end; pos += kKeyBlock) {
      const auto n = static_cast<std::ptrdiff_t>(std::min<std::int64_t>(kKeyBlock, end - pos));
      const KeyBlock<Element> keys = block_at(c.kernels, core, group.cache, pos, n, scratch.block);
      attend(c.kernels, dims_of(core), queries, keys, state, scratch.scores);
    }
  }

  /// What the lanes of a group have read, over the queries it came from.
  void store(const LaneGroup& group, const Softmax& total) const noexcept {
    float* dst[kLanes];
    for (std::ptrdiff_t lane = 0; lane < group.rows; ++lane) dst[lane] = b.latent + (group.first_row + lane) * core.R;
    c.kernels.attend_finish(total, core.R, dst, group.rows);
  }

  /// Few keys or many groups: one thread walks the stretches of a group in order.
  void read_group(const Segment& segment, const MlaCache& cache, std::ptrdiff_t index,
                  const Worker<Element>& s) const noexcept {
    const LaneGroup group = load(segment, cache, index, s);
    s.total.clear(core.R);
    for (std::int64_t stretch = 0; stretch < group.num_stretches(); ++stretch) {
      read_stretch(group, stretch, s.queries, s, s.part);
      c.kernels.attend_merge(s.total, s.part, core.R);
    }
    store(group, s.total);
  }

  /// Many keys and few groups (decoding in a long context): the stretches of one group are spread over the threads.
  void read_group_split(const Segment& segment, const MlaCache& cache, std::ptrdiff_t index) const noexcept {
    const Worker<Element>& s = b.workers[0];
    const LaneGroup group = load(segment, cache, index, s);
    s.total.clear(core.R);
    for (std::int64_t first = 0; first < group.num_stretches(); first += kMaxPartials) {
      const std::ptrdiff_t count = std::min<std::int64_t>(kMaxPartials, group.num_stretches() - first);
      c.pool.parallel_for(count, [&](std::ptrdiff_t i, int worker) {
        read_stretch(group, first + i, s.queries, b.workers[worker], b.partials[i]);
      });
      for (std::ptrdiff_t i = 0; i < count; ++i) c.kernels.attend_merge(s.total, b.partials[i], core.R);
    }
    store(group, s.total);
  }

  /// All rows of a segment.
  void read(const Segment& segment, const MlaCache& cache) const noexcept {
    const std::ptrdiff_t groups = ceil_div(segment.count * core.H, kLanes);
    if (groups < 2 * c.pool.size() && cache.num_tokens() > kStretch) {
      for (std::ptrdiff_t g = 0; g < groups; ++g) read_group_split(segment, cache, g);
    } else {
      c.pool.parallel_for(groups,
                          [&](std::ptrdiff_t g, int worker) { read_group(segment, cache, g, b.workers[worker]); });
    }
  }
};

/// Calls f(first_row, rows) for each run of neighbouring segments of this form.
template <class F>
void for_each_run(std::span<const Segment> segments, F&& f) noexcept {
  for (std::size_t s = 0; s < segments.size(); ++s) {
    const std::ptrdiff_t first = segments[s].first;
    std::ptrdiff_t rows = 0;
    for (; s < segments.size() && !segments[s].expanded; ++s) rows += segments[s].count;
    if (rows > 0) f(first, rows);
  }
}

/// Every head's product with its own matrix, a task each: rows of `of(h, first)` meet matrix h.
template <class F>
void multiply_heads(const std::vector<WeightMatrix>& matrices, const LayerContext& c, std::span<const Segment> segments,
                    F&& product_of) noexcept {
  const auto each = [&](std::ptrdiff_t h, auto&& use) {
    for_each_run(segments, [&](std::ptrdiff_t first, std::ptrdiff_t rows) {
      use(product_of(matrices[static_cast<std::size_t>(h)], h, first, rows));
    });
  };
  const std::ptrdiff_t H = std::ssize(matrices);
  for (std::ptrdiff_t h = 0; c.products != nullptr && h < H; ++h)
    each(h, [&](const MatmulArgs& p) { c.products->on_product(p); });
  c.pool.parallel_for(
      H, [&](std::ptrdiff_t h, int) { each(h, [&](const MatmulArgs& p) { c.kernels.matmul(p, 0, p.w.N); }); });
}

/// Both matrices of every head, read once, and what every pair of query and key takes.
void count(const MlaWeights& w, const MlaCore& core, const LayerContext& c, std::span<const Segment> segments,
           std::span<MlaCache* const> caches) noexcept {
  const auto per_pair = static_cast<double>(core.H * (2 * core.R + core.P));
  std::ptrdiff_t rows = 0;
  for (std::size_t s = 0; s < segments.size(); ++s) {
    if (segments[s].expanded) continue;
    rows += segments[s].count;
    c.profiler->count_ops(attention_arithmetic(c), 2 * count_pairs(segments[s], caches[s]->num_tokens()) * per_pair);
  }
  for (const auto* matrices : {&w.w_uk, &w.w_uv})
    for (const WeightMatrix& matrix : *matrices) c.profiler->count_product(matrix, rows);
}

}  // namespace

void MlaAbsorbed::plan(const MlaCore& core, const LayerSettings& settings, Arena& arena, std::ptrdiff_t T,
                       int workers) {
  const ArenaScope scope(arena);
  with_element(settings, [&](auto element) { Buffers<decltype(element)>(arena, core, T, workers); });
}

void MlaAbsorbed::forward(const MlaWeights& w, const MlaCore& core, const LayerContext& c,
                          std::span<const Segment> segments, std::span<MlaCache* const> caches,
                          std::ptrdiff_t T) noexcept {
  if (std::all_of(segments.begin(), segments.end(), [](const Segment& s) { return s.expanded; })) return;
  const std::ptrdiff_t H = core.H, N = core.N, P = core.P, R = core.R, V = core.V;
  const ArenaScope scope(c.arena);
  if (c.profiler != nullptr) count(w, core, c, segments, caches);

  with_element(c.settings, [&](auto element) {
    using Element = decltype(element);
    const Buffers<Element> b(c.arena, core, T, c.pool.size());

    // 1. Queries into latent space: q~_h = W_UK,h^T q_n,h.
    multiply_heads(w.w_uk, c, segments,
                   [&](const WeightMatrix& w_uk, std::ptrdiff_t h, std::ptrdiff_t first, std::ptrdiff_t rows) {
                     return MatmulArgs{.w = w_uk,
                                       .x = core.q + (first * H + h) * (N + P),
                                       .x_stride = H * (N + P),
                                       .y = b.latent + (first * H + h) * R,
                                       .y_stride = H * R,
                                       .M = rows};
                   });
    // 2. Attention over the latents, kLanes (token, head) rows at a time.
    const Attention<Element> attention{core, c, b};
    for (std::size_t s = 0; s < segments.size(); ++s)
      if (!segments[s].expanded) attention.read(segments[s], *caches[s]);

    // 3. What was read, out of latent space: o_h = W_UV,h u_h.
    multiply_heads(w.w_uv, c, segments,
                   [&](const WeightMatrix& w_uv, std::ptrdiff_t h, std::ptrdiff_t first, std::ptrdiff_t rows) {
                     return MatmulArgs{.w = w_uv,
                                       .x = b.latent + (first * H + h) * R,
                                       .x_stride = H * R,
                                       .y = core.o + (first * H + h) * V,
                                       .y_stride = H * V,
                                       .M = rows};
                   });
  });
}

}  // namespace kl
