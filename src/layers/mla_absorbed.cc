#include <algorithm>
#include <cmath>

#include "layers/mla_forms.h"

namespace kl {
namespace {

// Long contexts are read in stretches of fixed positions.  Each stretch gives a partial softmax, and partials are
// merged in order of position: the same arithmetic whether one thread walks all stretches or many threads share them.
constexpr std::int64_t kStretch = 8 * kKeyBlock;

// Partial softmaxes kept at once when a lane group's stretches are spread over threads (66 KiB each at R = 512).
constexpr std::ptrdiff_t kMaxPartials = 64;

/// Floats of one running softmax: O [Dv, kLanes], m and l [kLanes].
std::ptrdiff_t state_floats(std::ptrdiff_t Dv) { return (Dv + 2) * kLanes; }

/// The running softmax that lies at p.
AttendState state_at(float* p, std::ptrdiff_t Dv) { return {.m = p + Dv * kLanes, .l = p + (Dv + 1) * kLanes, .O = p}; }

/// No key seen yet.
void clear(const AttendState& s, std::ptrdiff_t Dv) {
  std::fill_n(s.m, kLanes, -INFINITY);
  std::fill_n(s.l, kLanes, 0.0f);
  std::fill_n(s.O, Dv * kLanes, 0.0f);
}

/// One lane group of one sequence: kLanes consecutive (token, head) rows.
struct LaneGroup {
  std::ptrdiff_t first_row;  // row = token * H + head within the segment
  std::ptrdiff_t rows;       // lanes in use
  std::int64_t num_keys;     // keys its last token may see
};

}  // namespace

/// Buffers of one thread.
struct MlaAbsorbed::Worker {
  float* q;             // [R, kLanes]
  float* q_pe;          // [P, kLanes]
  float* scores;        // [kKeyBlock, kLanes]
  float* keys;          // [kKeyBlock, R + P] a block of the cache, if it is not f32; for products of bf16 in its place:
  Bf16Pair* values;     // [kKeyBlock / 2, R] pairs of keys of a block
  Bf16Pair* q_pairs;    // [ceil((R + P) / 2), kLanes] pairs of channels of q and q_pe
  std::int64_t* limit;  // [kLanes]
  float* total;         // softmax state over all stretches so far
  float* part;          // softmax state of one stretch

  Worker(float* p, const MlaCore& core)
      : q(p),
        q_pe(q + core.R * kLanes),
        scores(q_pe + core.P * kLanes),
        keys(scores + kKeyBlock * kLanes),
        values(reinterpret_cast<Bf16Pair*>(keys)),
        q_pairs(values + kKeyBlock / 2 * core.R),
        limit(reinterpret_cast<std::int64_t*>(keys + kKeyBlock * (core.R + core.P))),
        total(keys + kKeyBlock * (core.R + core.P) + 2 * kLanes),
        part(total + state_floats(core.R)) {}

  static std::ptrdiff_t floats(const MlaCore& core) {
    return (core.R + core.P + kKeyBlock + 2) * kLanes + kKeyBlock * (core.R + core.P) + 2 * state_floats(core.R);
  }
};

MlaAbsorbed::MlaAbsorbed(const MlaCore& core, Arena& arena, std::ptrdiff_t T, int workers)
    : core_(core),
      latent_(arena.take(T * core.H * core.R)),
      scratch_(arena.take(workers * Worker::floats(core))),
      partials_(arena.take(kMaxPartials * state_floats(core.R))) {}

MlaAbsorbed::Worker MlaAbsorbed::worker(int index) const noexcept {
  return Worker(scratch_ + index * Worker::floats(core_), core_);
}

namespace {

/// Lays the queries of a group out one per lane and sets how many keys each may see.
template <class Worker>
LaneGroup load_group(const Kernels& kernels, const MlaCore& core, const float* latent, const Segment& segment,
                     std::int64_t start, std::ptrdiff_t group, const Worker& s) noexcept {
  const std::ptrdiff_t first = group * kLanes, rows = std::min(kLanes, segment.count * core.H - first);
  const float* src[kLanes];
  const float* src_pe[kLanes];
  for (std::ptrdiff_t lane = 0; lane < kLanes; ++lane) s.limit[lane] = 0;
  for (std::ptrdiff_t lane = 0; lane < rows; ++lane) {
    const std::ptrdiff_t row = segment.first * core.H + first + lane;
    src[lane] = latent + row * core.R;
    src_pe[lane] = core.q + row * (core.N + core.P) + core.N;
    s.limit[lane] = start + (first + lane) / core.H + 1;
  }
  kernels.pack_lanes(src, rows, core.R, s.q);
  kernels.pack_lanes(src_pe, rows, core.P, s.q_pe);
  // q_pe lies behind q: together they meet a whole row of the cache.
  kernels.pair_rows({s.q, DType::kF32, kLanes, core.R + core.P, kLanes, s.q_pairs, kLanes});
  return {first, rows, s.limit[rows - 1]};
}

/// A block of keys in f32.  `queries` and `scratch` are Workers, maybe the same.
template <class Worker>
void attend_block(const Kernels& kernels, const MlaCore& core, const MlaCache& cache, std::int64_t pos,
                  std::ptrdiff_t n, const Worker& queries, const Worker& scratch, const AttendState& state) noexcept {
  const float* keys = cached_rows(kernels, cache, pos, n, scratch.keys);
  const std::ptrdiff_t stride = core.R + core.P;
  kernels.attend({.q = queries.q,
                  .q_pe = queries.q_pe,
                  .limit = queries.limit,
                  .k = keys,
                  .k_stride = stride,
                  .k_pe = keys + core.R,
                  .pe_stride = stride,
                  .v = keys,
                  .v_stride = stride,
                  .C = core.R,
                  .P = core.P,
                  .Dv = core.R,
                  .n = n,
                  .position = pos,
                  .scale = core.scale,
                  .state = state,
                  .scores = scratch.scores});
}

/// A block of keys in bf16: rows of the cache are keys as they lie, pairs of rows are values.
template <class Worker>
void attend_block_bf16(const Kernels& kernels, const MlaCore& core, const MlaCache& cache, std::int64_t pos,
                       std::ptrdiff_t n, const Worker& queries, const Worker& scratch,
                       const AttendState& state) noexcept {
  const Bf16Pair* keys = cached_pairs(cache, pos);
  const std::ptrdiff_t stride = pairs_stride(cache);
  const std::int64_t next = pos + kKeyBlock, next_rows = std::min(kKeyBlock, cache.num_tokens() - next);
  kernels.pair_rows({keys, DType::kBF16, 2 * stride, n, core.R, scratch.values, core.R});
  kernels.attend_bf16({.q = queries.q_pairs,
                       .limit = queries.limit,
                       .k = keys,
                       .k_stride = stride,
                       .v = scratch.values,
                       .C = core.R + core.P,
                       .Dv = core.R,
                       .n = n,
                       .position = pos,
                       .scale = core.scale,
                       .state = state,
                       .scores = scratch.scores,
                       .next = next_rows > 0 ? cache.row(next) : nullptr,
                       .next_bytes = next_rows > 0 ? next_rows * cache.format().row_bytes() : 0});
}

/// The softmax of one group over the keys of one stretch.
template <class Worker>
void attend_stretch(const LayerContext& c, const MlaCore& core, const MlaCache& cache, std::int64_t num_keys,
                    std::int64_t stretch, const Worker& queries, const Worker& scratch,
                    const AttendState& state) noexcept {
  clear(state, core.R);
  const std::int64_t end = std::min(num_keys, (stretch + 1) * kStretch);
  for (std::int64_t pos = stretch * kStretch; pos < end; pos += kKeyBlock) {
    const auto n = static_cast<std::ptrdiff_t>(std::min<std::int64_t>(kKeyBlock, end - pos));
    if (multiplies_bf16(c, cache)) {
      attend_block_bf16(c.kernels, core, cache, pos, n, queries, scratch, state);
    } else {
      attend_block(c.kernels, core, cache, pos, n, queries, scratch, state);
    }
  }
}

/// What the lanes of a group have read, over the queries it came from.
void store_group(const Kernels& kernels, const MlaCore& core, float* latent, const Segment& segment,
                 const LaneGroup& group, const AttendState& total) noexcept {
  float* dst[kLanes];
  for (std::ptrdiff_t lane = 0; lane < group.rows; ++lane)
    dst[lane] = latent + (segment.first * core.H + group.first_row + lane) * core.R;
  kernels.attend_finish(total, core.R, dst, group.rows);
}

}  // namespace

/// Few keys or many groups: one thread walks the stretches of a group in order.
void MlaAbsorbed::attend_group(const LayerContext& c, const Segment& segment, const MlaCache& cache,
                               std::ptrdiff_t group, const Worker& s) noexcept {
  const std::int64_t start = cache.num_tokens() - segment.count;
  const LaneGroup g = load_group(c.kernels, core_, latent_, segment, start, group, s);
  const AttendState total = state_at(s.total, core_.R), part = state_at(s.part, core_.R);
  clear(total, core_.R);
  for (std::int64_t stretch = 0; stretch * kStretch < g.num_keys; ++stretch) {
    attend_stretch(c, core_, cache, g.num_keys, stretch, s, s, part);
    c.kernels.attend_merge(total, part, core_.R);
  }
  store_group(c.kernels, core_, latent_, segment, g, total);
}

/// Many keys and few groups (decoding in a long context): the stretches of one group are spread over the threads.
void MlaAbsorbed::attend_group_split(const LayerContext& c, const Segment& segment, const MlaCache& cache,
                                     std::ptrdiff_t group) noexcept {
  const std::int64_t start = cache.num_tokens() - segment.count;
  const Worker s = worker(0);
  const LaneGroup g = load_group(c.kernels, core_, latent_, segment, start, group, s);
  const AttendState total = state_at(s.total, core_.R);
  const std::int64_t num_stretches = ceil_div(g.num_keys, kStretch);
  clear(total, core_.R);
  for (std::int64_t first = 0; first < num_stretches; first += kMaxPartials) {
    const std::ptrdiff_t count = std::min<std::int64_t>(kMaxPartials, num_stretches - first);
    c.pool.parallel_for(count, [&](std::ptrdiff_t i, int w) {
      attend_stretch(c, core_, cache, g.num_keys, first + i, s, worker(w),
                     state_at(partials_ + i * state_floats(core_.R), core_.R));
    });
    for (std::ptrdiff_t i = 0; i < count; ++i)
      c.kernels.attend_merge(total, state_at(partials_ + i * state_floats(core_.R), core_.R), core_.R);
  }
  store_group(c.kernels, core_, latent_, segment, g, total);
}

/// Both matrices of every head, and what every pair of query and key takes.
void MlaAbsorbed::count(const MlaWeights& w, const LayerContext& c, std::span<const Segment> segments,
                        const bool* selected, std::span<MlaCache* const> caches) const noexcept {
  Profiler& profiler = *c.profiler;
  const auto per_pair = static_cast<double>(core_.H * (2 * core_.R + core_.P));
  std::ptrdiff_t rows = 0;
  for (std::size_t s = 0; s < segments.size(); ++s) {
    if (!selected[s]) continue;
    rows += segments[s].count;
    profiler.count_ops(arithmetic_of(c, *caches[s]), 2 * count_pairs(segments[s], caches[s]->num_tokens()) * per_pair);
  }
  for (std::size_t h = 0; h < w.w_uk.size(); ++h) {
    profiler.count_product(w.w_uk[h], rows);
    profiler.count_product(w.w_uv[h], rows);
  }
}

/// Calls f(first_row, rows) for each run of neighbouring selected segments.
template <class F>
void MlaAbsorbed::for_each_run(std::span<const Segment> segments, const bool* selected, F&& f) noexcept {
  for (std::size_t s = 0; s < segments.size();) {
    if (!selected[s]) {
      ++s;
      continue;
    }
    const std::ptrdiff_t first = segments[s].first;
    std::ptrdiff_t rows = 0;
    for (; s < segments.size() && selected[s]; ++s) rows += segments[s].count;
    f(first, rows);
  }
}

void MlaAbsorbed::forward(const MlaWeights& w, const LayerContext& c, std::span<const Segment> segments,
                          const bool* selected, std::span<MlaCache* const> caches) noexcept {
  const std::ptrdiff_t H = core_.H, N = core_.N, P = core_.P, R = core_.R, V = core_.V;
  if (c.profiler != nullptr) count(w, c, segments, selected, caches);

  // 1. Queries into latent space: q~_h = W_UK,h^T q_n,h.
  c.pool.parallel_for(H, [&](std::ptrdiff_t h, int) {
    for_each_run(segments, selected, [&](std::ptrdiff_t first, std::ptrdiff_t rows) {
      c.kernels.matmul({.w = w.w_uk[static_cast<std::size_t>(h)],
                        .x = core_.q + (first * H + h) * (N + P),
                        .x_stride = H * (N + P),
                        .y = latent_ + (first * H + h) * R,
                        .y_stride = H * R,
                        .M = rows},
                       0, R);
    });
  });

  // 2. Attention over the latents, kLanes (token, head) rows at a time.
  for (std::size_t s = 0; s < segments.size(); ++s) {
    if (!selected[s]) continue;
    const std::ptrdiff_t groups = ceil_div(segments[s].count * H, kLanes);
    if (groups < 2 * c.pool.size() && caches[s]->num_tokens() > kStretch) {
      for (std::ptrdiff_t g = 0; g < groups; ++g) attend_group_split(c, segments[s], *caches[s], g);
    } else {
      c.pool.parallel_for(
          groups, [&](std::ptrdiff_t g, int thread) { attend_group(c, segments[s], *caches[s], g, worker(thread)); });
    }
  }

  // 3. What was read, out of latent space: o_h = W_UV,h u_h.
  c.pool.parallel_for(H, [&](std::ptrdiff_t h, int) {
    for_each_run(segments, selected, [&](std::ptrdiff_t first, std::ptrdiff_t rows) {
      c.kernels.matmul({.w = w.w_uv[static_cast<std::size_t>(h)],
                        .x = latent_ + (first * H + h) * R,
                        .x_stride = H * R,
                        .y = core_.o + (first * H + h) * V,
                        .y_stride = H * V,
                        .M = rows},
                       0, V);
    });
  });
}

}  // namespace kl
