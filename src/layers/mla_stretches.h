#pragma once
// What MlaAbsorbed works with: groups of queries, the stretches of keys they read, and scratch for both.
#include <algorithm>
#include <array>

#include "layers/mla_lanes.h"

namespace kl::absorbed {

// Long contexts are read in stretches of fixed positions.  Each stretch gives a partial softmax, and partials are
// merged in order of position: the same arithmetic whether one thread walks all stretches or many threads share them.
inline constexpr std::int64_t kStretch = 8 * kKeyBlock;

// Stretches that are read at once, each with a softmax of its own (66 KiB at R = 512), and the most of them whose
// products of queries and keys are kept for all slices of their values to read (128 KiB each).
inline constexpr std::ptrdiff_t kMaxParts = 64, kMaxSliced = 32;

// Slices of the values' channels that are tasks of their own where there are fewer stretches than threads could read.
inline constexpr std::ptrdiff_t kSlices = 4;

/// Fewer groups than this are few: their stretches are spread over the threads.
constexpr std::ptrdiff_t few_groups(int threads) { return threads > 1 ? 2 * threads : 0; }
/// Groups that are read so at once.
constexpr std::ptrdiff_t most_groups(int threads) { return std::min(kMaxParts, few_groups(threads)); }
/// Stretches whose values may be read in slices: none in f32, whose kernel computes products by itself.
template <class Element>
constexpr std::ptrdiff_t most_sliced(int threads) {
  return kIsF32<Element> ? 0 : std::min(kMaxSliced, few_groups(threads));
}

/// Queries are as wide as a row of the cache, which is key and value at once.
inline LaneDims dims_of(const MlaCore& core) { return {.C = core.R, .P = core.P, .Dv = core.R, .scale = core.scale}; }

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

/// The softmax of one stretch, in up to kSlices slices of its values, which have their own m and l: the same numbers.
struct PartialSoftmax {
  float* m;  // [kSlices, kLanes]
  float* l;  // [kSlices, kLanes]
  float* O;  // [R, kLanes]

  /// Over values of R numbers.
  PartialSoftmax(Arena& arena, std::ptrdiff_t R)
      : m(arena.take<float>(kSlices * kLanes)),
        l(arena.take<float>(kSlices * kLanes)),
        O(arena.take<float>(R * kLanes)) {}

  /// Slice i of those of `width` values.
  AttendState slice(std::ptrdiff_t i, std::ptrdiff_t width) const noexcept {
    return {.m = m + i * kLanes, .l = l + i * kLanes, .O = O + i * width * kLanes};
  }
};

/// Scratch of one forward().
template <class Element>
struct Buffers {
  float* latent;                             // [T, H, R] queries in latent space, then what they read: sum_s p_s c_s
  ArenaArray<Worker<Element>> workers;       // [workers]
  ArenaArray<LaneQueries<Element>> queries;  // [most_groups()] of groups that many threads read
  ArenaArray<PartialSoftmax> parts;          // [kMaxParts] of their stretches; none for one thread
  float* scores;                             // [most_sliced(), kStretch, kLanes] products q.k

  /// For T rows.
  Buffers(Arena& arena, const MlaCore& core, std::ptrdiff_t T, int num_workers)
      : latent(arena.take<float>(T * core.H * core.R)),
        workers(arena, num_workers, core),
        queries(arena, most_groups(num_workers), dims_of(core)),
        parts(arena, num_workers > 1 ? kMaxParts : 0, core.R),
        scores(arena.take<float>(most_sliced<Element>(num_workers) * kStretch * kLanes)) {}
};

/// kLanes consecutive (token, head) rows of one sequence, and the cache they read.
struct LaneGroup {
  const MlaCache* cache = nullptr;
  std::int64_t start = 0;        // keys before the segment's new tokens
  std::ptrdiff_t first_row = 0;  // token * H + head within the pass,
  std::ptrdiff_t first = 0;      // and within the segment
  std::ptrdiff_t rows = 0;       // lanes in use
  std::int64_t num_keys = 0;     // keys its last token may see

  std::int64_t num_stretches() const noexcept { return ceil_div(num_keys, kStretch); }  ///< they lie in
};

/// One stretch of the keys of a group.
struct Part {
  std::ptrdiff_t group;  // of those of the wave
  const MlaCache* cache;
  std::int64_t first_key, end_key;
};

/// Stretches that are read at once: of as many whole groups as kMaxParts holds, or some of a single group's.
struct Wave {
  std::array<LaneGroup, kMaxParts> groups;
  std::array<Part, kMaxParts> parts;
  std::ptrdiff_t num_groups = 0, num_parts = 0;
  std::ptrdiff_t slices = 1;  // of the values, each a task

  /// Adds stretches of a group, from `first` on, as many as there is room for.
  void add(const LaneGroup& group, std::int64_t first) noexcept {
    for (std::int64_t i = first; i < group.num_stretches() && num_parts < kMaxParts; ++i) {
      parts[static_cast<std::size_t>(num_parts++)] = {num_groups, group.cache, i * kStretch,
                                                      std::min(group.num_keys, (i + 1) * kStretch)};
    }
    groups[static_cast<std::size_t>(num_groups++)] = group;
  }

  /// Whether add() would take all of a group; the groups and the parts so far.
  bool has_room_for(const LaneGroup& group) const noexcept { return num_parts + group.num_stretches() <= kMaxParts; }
  const LaneGroup& group(std::ptrdiff_t g) const noexcept { return groups[static_cast<std::size_t>(g)]; }
  const Part& part(std::ptrdiff_t i) const noexcept { return parts[static_cast<std::size_t>(i)]; }
};

}  // namespace kl::absorbed
