// The expanded form over a bf16 cache: the same walk as mla_expanded.cc, with everything that is multiplied in bf16.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "layers/mla_forms.h"

namespace kl {
namespace {

constexpr std::ptrdiff_t padded(std::ptrdiff_t n) { return ceil_div(n, kLanes) * kLanes; }
constexpr std::ptrdiff_t half(std::ptrdiff_t n) { return ceil_div(n, 2); }

/// Scratch of one head for `T` queries.  Words are floats or pairs of bf16; every part is whole cache lines.
struct HeadScratch {
  float* sums;          // [kKeyBlock, most] keys or values of a block before they are rounded
  float* rows;          // [most, kLanes] what is about to be paired
  Bf16Pair* w_uk;       // [N / kLanes, R / 2, kLanes] panels of outputs
  Bf16Pair* w_uv;       // [V / kLanes, R / 2, kLanes]
  Bf16Pair* keys;       // [kKeyBlock, (N + P) / 2]
  Bf16Pair* values;     // [kKeyBlock / 2, V] pairs of keys
  float* scores;        // [kKeyBlock, kLanes]
  std::int64_t* limit;  // [groups, kLanes]
  Bf16Pair* q;          // [groups, (N + P) / 2, kLanes]
  float* m;             // [groups, kLanes]
  float* l;             // [groups, kLanes]
  float* O;             // [groups, V, kLanes]

  static std::ptrdiff_t most(const MlaCore& core) { return padded(std::max({core.R, core.N + core.P, core.V})); }

  /// Calls f(member, words) for each part.
  template <class F>
  void for_each_part(const MlaCore& core, std::ptrdiff_t T, F f) {
    const std::ptrdiff_t groups = ceil_div(T, kLanes), key = half(core.N + core.P);
    f(sums, kKeyBlock * most(core));
    f(rows, most(core) * kLanes);
    f(w_uk, padded(core.N) * half(core.R));
    f(w_uv, padded(core.V) * half(core.R));
    f(keys, kKeyBlock * key);
    f(values, kKeyBlock / 2 * core.V);
    f(scores, kKeyBlock * kLanes);
    f(limit, groups * kLanes * 2);
    f(q, groups * key * kLanes);
    f(m, groups * kLanes);
    f(l, groups * kLanes);
    f(O, groups * core.V * kLanes);
  }

  HeadScratch() = default;
  HeadScratch(float* p, const MlaCore& core, std::ptrdiff_t T) {
    for_each_part(core, T, [&p]<class Word>(Word*& part, std::ptrdiff_t words) {
      part = reinterpret_cast<Word*>(std::exchange(p, p + words));
    });
  }
};

/// Queries of one head, rounded and paired along channels, one per lane, and how many keys each may see.
void load_queries(const Kernels& kernels, const MlaCore& core, const Segment& segment, std::int64_t start,
                  std::ptrdiff_t head, const HeadScratch& s) noexcept {
  const std::ptrdiff_t key = core.N + core.P;
  for (std::ptrdiff_t g = 0; g * kLanes < segment.count; ++g) {
    const std::ptrdiff_t rows = std::min(kLanes, segment.count - g * kLanes);
    const float* src[kLanes];
    for (std::ptrdiff_t lane = 0; lane < kLanes; ++lane) s.limit[g * kLanes + lane] = 0;
    for (std::ptrdiff_t lane = 0; lane < rows; ++lane) {
      const std::ptrdiff_t t = g * kLanes + lane;
      src[lane] = core.q + ((segment.first + t) * core.H + head) * key;
      s.limit[t] = start + t + 1;
    }
    kernels.pack_lanes(src, rows, key, s.rows);
    kernels.pair_rows({s.rows, DType::kF32, kLanes, key, kLanes, s.q + g * half(key) * kLanes, kLanes});
  }
}

/// W_UK [R, N] and W_UV [V, R] of a head as panels of outputs, paired along R: they will meet every cached row.
void load_weights(const Kernels& kernels, const MlaCore& core, const WeightMatrix& w_uk, const WeightMatrix& w_uv,
                  const HeadScratch& s) noexcept {
  const std::ptrdiff_t R = core.R, panel = half(R) * kLanes, stride = padded(core.N);
  float* two = s.sums;  // two rows of W_UK, padded to panels
  std::fill_n(two, 2 * stride, 0.0f);
  for (std::ptrdiff_t r = 0; r < R; r += 2) {
    const std::ptrdiff_t rows = std::min<std::ptrdiff_t>(2, R - r);
    for (std::ptrdiff_t i = 0; i < rows; ++i) kernels.weight_row(w_uk, r + i, two + i * stride);
    for (std::ptrdiff_t n = 0; n < core.N; n += kLanes)
      kernels.pair_rows(
          {two + n, DType::kF32, stride, rows, kLanes, s.w_uk + n / kLanes * panel + r / 2 * kLanes, kLanes});
  }
  for (std::ptrdiff_t v = 0; v < core.V; v += kLanes) {
    const std::ptrdiff_t rows = std::min(kLanes, core.V - v);
    const float* src[kLanes];
    for (std::ptrdiff_t i = 0; i < rows; ++i) {
      src[i] = s.sums + i * R;
      kernels.weight_row(w_uv, v + i, s.sums + i * R);
    }
    kernels.pack_lanes(src, rows, R, s.rows);
    kernels.pair_rows({s.rows, DType::kF32, kLanes, R, kLanes, s.w_uv + v / kLanes * panel, kLanes});
  }
}

/// Keys and values of n cached rows, rounded: k_h = [W_UK,h c | k_p], v_h = W_UV,h c.
void expand_block(const Kernels& kernels, const MlaCore& core, const Bf16Pair* latents, std::ptrdiff_t latent_stride,
                  std::ptrdiff_t n, const HeadScratch& s) noexcept {
  const std::ptrdiff_t key = core.N + core.P;
  kernels.matmul_bf16({s.w_uk, core.N, core.R, latents, latent_stride, s.sums, padded(core.N), n});
  const LatentFormat rounded{LatentType::kBf16, core.N, 0};
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    auto* row = reinterpret_cast<std::byte*>(s.keys + i * half(key));
    kernels.store_latent(rounded, s.sums + i * padded(core.N), row);
    const auto* pe = reinterpret_cast<const std::byte*>(latents + i * latent_stride) + 2 * core.R;
    std::memcpy(row + 2 * core.N, pe, static_cast<std::size_t>(2 * core.P));
    if (key % 2 != 0) std::memset(row + 2 * key, 0, 2);
  }
  kernels.matmul_bf16({s.w_uv, core.V, core.R, latents, latent_stride, s.sums, padded(core.V), n});
  kernels.pair_rows({s.sums, DType::kF32, padded(core.V), n, core.V, s.values, core.V});
}

}  // namespace

std::ptrdiff_t MlaExpanded::bf16_floats(const MlaCore& core, std::ptrdiff_t T) {
  std::ptrdiff_t sum = 0;
  HeadScratch().for_each_part(core, T, [&sum](auto*&, std::ptrdiff_t words) { sum += words; });
  return sum;
}

void MlaExpanded::attend_head_bf16(const MlaWeights& w, const LayerContext& c, const Segment& segment,
                                   const MlaCache& cache, std::ptrdiff_t head, float* scratch) noexcept {
  const HeadScratch s(scratch, core_, segment.count);
  const std::ptrdiff_t groups = ceil_div(segment.count, kLanes), key = core_.N + core_.P, V = core_.V;
  const std::int64_t num_keys = cache.num_tokens(), start = num_keys - segment.count;
  load_weights(c.kernels, core_, w.w_uk[static_cast<std::size_t>(head)], w.w_uv[static_cast<std::size_t>(head)], s);
  load_queries(c.kernels, core_, segment, start, head, s);
  std::fill_n(s.m, groups * kLanes, -INFINITY);
  std::fill_n(s.l, groups * kLanes, 0.0f);
  std::fill_n(s.O, groups * V * kLanes, 0.0f);
  const auto state = [&](std::ptrdiff_t g) {
    return AttendState{.m = s.m + g * kLanes, .l = s.l + g * kLanes, .O = s.O + g * V * kLanes};
  };

  for (std::int64_t pos = 0; pos < num_keys; pos += kKeyBlock) {
    const auto n = static_cast<std::ptrdiff_t>(std::min<std::int64_t>(kKeyBlock, num_keys - pos));
    expand_block(c.kernels, core_, cached_pairs(cache, pos), pairs_stride(cache), n, s);
    for (std::ptrdiff_t g = 0; g < groups; ++g) {
      if (start + std::min(segment.count, (g + 1) * kLanes) <= pos) continue;  // every query of the group lies before
      c.kernels.attend_bf16({.q = s.q + g * half(key) * kLanes,
                             .limit = s.limit + g * kLanes,
                             .k = s.keys,
                             .k_stride = half(key),
                             .v = s.values,
                             .C = key,
                             .Dv = V,
                             .n = n,
                             .position = pos,
                             .scale = core_.scale,
                             .state = state(g),
                             .scores = s.scores,
                             .next = nullptr,
                             .next_bytes = 0});
    }
  }
  for (std::ptrdiff_t g = 0; g < groups; ++g) {
    const std::ptrdiff_t rows = std::min(kLanes, segment.count - g * kLanes);
    float* dst[kLanes];
    for (std::ptrdiff_t lane = 0; lane < rows; ++lane)
      dst[lane] = core_.o + ((segment.first + g * kLanes + lane) * core_.H + head) * V;
    c.kernels.attend_finish(state(g), V, dst, rows);
  }
}

}  // namespace kl
