#include "layers/mla_stretches.h"

namespace kl {

using namespace absorbed;

namespace {

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

/// Attention of a pass in latent space.
template <class Element>
struct Attention {
  const MlaCore& core;
  const LayerContext& c;
  const Buffers<Element>& b;
  std::span<const Segment> segments;
  std::span<MlaCache* const> caches;

  /// Group `index` of those of all segments of this form.
  LaneGroup group(std::ptrdiff_t index) const noexcept {
    std::size_t s = 0;
    for (;; ++s) {
      if (segments[s].expanded()) continue;
      const std::ptrdiff_t groups = ceil_div(segments[s].count * core.H, kLanes);
      if (index < groups) break;
      index -= groups;
    }
    const std::ptrdiff_t first = index * kLanes, rows = std::min(kLanes, segments[s].count * core.H - first);
    const std::int64_t start = caches[s]->num_tokens() - segments[s].count;
    return {caches[s], start, segments[s].first * core.H + first, first, rows, start + (first + rows - 1) / core.H + 1};
  }

  /// Lays the queries of a group out one per lane and sets how many keys each may see.
  void load(const LaneGroup& g, const LaneQueries<Element>& queries, float* scratch) const noexcept {
    const float *q[kLanes], *q_pe[kLanes];
    for (std::ptrdiff_t lane = 0; lane < g.rows; ++lane) {
      q[lane] = b.latent + (g.first_row + lane) * core.R;
      q_pe[lane] = core.q + (g.first_row + lane) * (core.N + core.P) + core.N;
      queries.limit[lane] = g.start + (g.first + lane) / core.H + 1;
    }
    load_queries(c.kernels, dims_of(core), q, q_pe, g.rows, scratch, queries);
  }

  /// The softmax over the keys of one part.
  void read_part(const Part& part, const LaneQueries<Element>& queries, const Worker<Element>& scratch,
                 const AttendState& state) const noexcept {
    clear(state, core.R);
    for (std::int64_t pos = part.first_key; pos < part.end_key; pos += kKeyBlock) {
      const auto n = static_cast<std::ptrdiff_t>(std::min<std::int64_t>(kKeyBlock, part.end_key - pos));
      const KeyBlock<Element> keys = block_at(c.kernels, core, *part.cache, pos, n, scratch.block);
      attend(c.kernels, dims_of(core), queries, keys, state, scratch.scores);
    }
  }

  /// What the lanes of a group have read, channels [d, d + width), over the queries it came from.
  void store(const LaneGroup& g, const AttendState& total, std::ptrdiff_t d, std::ptrdiff_t width) const noexcept {
    float* dst[kLanes];
    for (std::ptrdiff_t lane = 0; lane < g.rows; ++lane) dst[lane] = b.latent + (g.first_row + lane) * core.R + d;
    c.kernels.attend_finish(total, width, dst, g.rows);
  }

  /// Few keys or many groups: one thread walks the stretches of a group in order.
  void read_group(std::ptrdiff_t index, const Worker<Element>& s) const noexcept {
    const LaneGroup g = group(index);
    load(g, s.queries, s.lanes);
    clear(s.total, core.R);
    for (std::int64_t pos = 0; pos < g.num_keys; pos += kStretch) {
      read_part({0, g.cache, pos, std::min(g.num_keys, pos + kStretch)}, s.queries, s, s.part);
      c.kernels.attend_merge(s.total, s.part, core.R);
    }
    store(g, s.total, 0, core.R);
  }

  void multiply_scores(const Wave& wave) const noexcept;
  void read_slice(const Wave& wave, std::ptrdiff_t i, std::ptrdiff_t slice, const Worker<Element>& s) const noexcept;
  void read_parts(const Wave& wave) const noexcept;
  void merge(const Wave& wave, std::ptrdiff_t g, std::ptrdiff_t slice, const AttendState& total) const noexcept;
  void read_wave(Wave& wave) const noexcept;
  void read_split(std::ptrdiff_t num_groups) const noexcept;

  /// All rows.
  void read() const noexcept {
    constexpr std::int64_t kWorthSplitting = 4 * kKeyBlock;
    std::ptrdiff_t groups = 0;
    std::int64_t most_keys = 0;
    for (std::size_t s = 0; s < segments.size(); ++s) {
      if (segments[s].expanded()) continue;
      groups += ceil_div(segments[s].count * core.H, kLanes);
      most_keys = std::max(most_keys, caches[s]->num_tokens());
    }
    if (groups < few_groups(c.pool.size()) && most_keys > kWorthSplitting) return read_split(groups);
    c.pool.parallel_for(groups, [&](std::ptrdiff_t g, int worker) { read_group(g, b.workers[worker]); });
  }
};

/// Products of the queries and the keys of all parts, a block of keys a task.
template <class Element>
void Attention<Element>::multiply_scores(const Wave& wave) const noexcept {
  if constexpr (!kIsF32<Element>) {
    constexpr std::ptrdiff_t kBlocks = kStretch / kKeyBlock;
    c.pool.parallel_for(wave.num_parts * kBlocks, [&](std::ptrdiff_t task, int) {
      const Part& part = wave.part(task / kBlocks);
      const std::int64_t pos = part.first_key + task % kBlocks * kKeyBlock;
      if (pos >= part.end_key) return;
      c.kernels.matmul_bf16({.w = b.queries[part.group].q,
                             .N = kLanes,
                             .K = core.R + core.P,
                             .x = cached_pairs(*part.cache, pos),
                             .x_stride = pairs_stride(*part.cache),
                             .y = b.scores + task * kKeyBlock * kLanes,
                             .y_stride = kLanes,
                             .M = static_cast<std::ptrdiff_t>(std::min<std::int64_t>(kKeyBlock, part.end_key - pos))});
    });
  }
}

/// The softmax of part i for a slice of its values: what read_part() does, with products that are there already.
template <class Element>
void Attention<Element>::read_slice(const Wave& wave, std::ptrdiff_t i, std::ptrdiff_t slice,
                                    const Worker<Element>& s) const noexcept {
  if constexpr (!kIsF32<Element>) {
    const Part& part = wave.part(i);
    const std::ptrdiff_t width = core.R / wave.slices, stride = pairs_stride(*part.cache);
    const AttendState state = b.parts[i].slice(slice, width);
    const LaneDims dims{.C = core.R, .P = core.P, .Dv = width, .scale = core.scale};
    const float* products = b.scores + i * kStretch * kLanes;
    clear(state, width);
    for (std::int64_t pos = part.first_key; pos < part.end_key; pos += kKeyBlock, products += kKeyBlock * kLanes) {
      const auto n = static_cast<std::ptrdiff_t>(std::min<std::int64_t>(kKeyBlock, part.end_key - pos));
      std::copy_n(products, n * kLanes, s.scores);  // the softmax writes over them
      const Bf16Pair* rows = cached_pairs(*part.cache, pos);
      c.kernels.pair_rows({rows + slice * width / 2, DType::kBF16, 2 * stride, n, width, s.block, width});
      const KeyBlock<Bf16Pair> keys{pos, n, rows, stride, s.block, nullptr, 0, true};
      attend(c.kernels, dims, b.queries[part.group], keys, state, s.scores);
    }
  }
}

/// Every part by itself: a task each, or one for every slice of its values.
template <class Element>
void Attention<Element>::read_parts(const Wave& wave) const noexcept {
  if (wave.slices > 1) multiply_scores(wave);
  c.pool.parallel_for(wave.num_parts * wave.slices, [&](std::ptrdiff_t task, int worker) {
    const std::ptrdiff_t i = task / wave.slices;
    if (wave.slices > 1) return read_slice(wave, i, task % wave.slices, b.workers[worker]);
    read_part(wave.part(i), b.queries[wave.part(i).group], b.workers[worker], b.parts[i].slice(0, core.R));
  });
}

/// Adds a slice of all parts of group g to `total`, earlier keys first.
template <class Element>
void Attention<Element>::merge(const Wave& wave, std::ptrdiff_t g, std::ptrdiff_t slice,
                               const AttendState& total) const noexcept {
  const std::ptrdiff_t width = core.R / wave.slices;
  for (std::ptrdiff_t i = 0; i < wave.num_parts; ++i)
    if (wave.part(i).group == g) c.kernels.attend_merge(total, b.parts[i].slice(slice, width), width);
}

/// All there is to do for the groups of a wave.  A group of more than kMaxParts stretches is alone in its wave.
template <class Element>
void Attention<Element>::read_wave(Wave& wave) const noexcept {
  c.pool.parallel_for(wave.num_groups, [&](std::ptrdiff_t g, int worker) {
    load(wave.group(g), b.queries[g], b.workers[worker].lanes);
  });
  // Fewer parts than the threads could read.
  if (core.R % (2 * kSlices) == 0 && wave.num_parts < most_sliced<Element>(c.pool.size())) wave.slices = kSlices;
  read_parts(wave);

  const LaneGroup group = wave.group(0);
  if (group.num_stretches() <= kMaxParts) {
    c.pool.parallel_for(wave.num_groups * wave.slices, [&](std::ptrdiff_t task, int worker) {
      const std::ptrdiff_t g = task / wave.slices, slice = task % wave.slices, width = core.R / wave.slices;
      const Softmax& total = b.workers[worker].total;
      clear(total, width);
      merge(wave, g, slice, total);
      store(wave.group(g), total, slice * width, width);
    });
    return;
  }
  const Softmax& total = b.workers[0].total;
  clear(total, core.R);
  merge(wave, 0, 0, total);
  for (std::int64_t first = kMaxParts; first < group.num_stretches(); first += kMaxParts) {
    Wave rest;
    rest.add(group, first);
    read_parts(rest);
    merge(rest, 0, 0, total);
  }
  store(group, total, 0, core.R);
}

/// Many keys and few groups (decoding in a long context): the stretches of the groups are spread over the threads, and
/// where these are still too few, slices of their values too.  No bit depends on it: a channel of O never meets another.
template <class Element>
void Attention<Element>::read_split(std::ptrdiff_t num_groups) const noexcept {
  for (std::ptrdiff_t next = 0; next < num_groups;) {
    Wave wave;
    for (; next < num_groups; ++next) {
      const LaneGroup g = group(next);
      if (wave.num_groups > 0 && !wave.has_room_for(g)) break;
      wave.add(g, 0);
    }
    read_wave(wave);
  }
}

/// Calls f(first_row, rows) for each run of neighbouring segments of this form.
template <class F>
void for_each_run(std::span<const Segment> segments, F&& f) noexcept {
  for (std::size_t s = 0; s < segments.size(); ++s) {
    const std::ptrdiff_t first = segments[s].first;
    std::ptrdiff_t rows = 0;
    for (; s < segments.size() && !segments[s].expanded(); ++s) rows += segments[s].count;
    if (rows > 0) f(first, rows);
  }
}

/// Every head's products with its own matrix, a task each: product_of(matrix, h, first, rows) for each run of rows.
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
    if (segments[s].expanded()) continue;
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
  if (std::all_of(segments.begin(), segments.end(), [](const Segment& s) { return s.expanded(); })) return;
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
    Attention<Element>{core, c, b, segments, caches}.read();

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
