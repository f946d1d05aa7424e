#pragma once
// broadcast_tile for pairs of bf16: lanes are independent outputs, a step is a pair,
//
//     out[row][lane] = sum over steps of A(row, step) . B[step][lane]
//
// The sum, which defines the bits: in ascending steps, in one accumulator, each product of pairs added as Bf16Pair says.
// There are two ways to compute it: FusedPairs is FMA on widened numbers, and an instruction set may bring an instruction.
// vdpbf16ps flushes subnormal numbers, so FMA is told to (FlushSubnormals): the bits are the same.
#include "kernels/generic/vectors.inl.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

/// Until the end of the block arithmetic takes and gives subnormal numbers as 0.  What must see it is a call that is not
/// inlined: the compiler may move arithmetic across the switch, but not a call.
class FlushSubnormals {
 public:
  /// From now on.
  FlushSubnormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040u); }
  ~FlushSubnormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
};

/// A(row, step) lies at data[row * stride + step]: rows are contiguous.
struct RowPairs {
  const Bf16Pair* data;
  std::ptrdiff_t stride;
  /// The rows from `row` on; where A(row, step) lies.
  RowPairs from_row(std::ptrdiff_t row) const { return {data + row * stride, stride}; }
  const Bf16Pair* at(std::ptrdiff_t row, std::ptrdiff_t step) const { return data + row * stride + step; }
};

/// A(row, step) lies at data[step * stride + row]: columns are contiguous.
struct ColumnPairs {
  const Bf16Pair* data;
  std::ptrdiff_t stride;
  /// The rows from `row` on; where A(row, step) lies.
  ColumnPairs from_row(std::ptrdiff_t row) const { return {data + row, stride}; }
  const Bf16Pair* at(std::ptrdiff_t row, std::ptrdiff_t step) const { return data + step * stride + row; }
};

/// Cache lines to pull into L2 while something else is computed, one per step.
class LinesAhead {
 public:
  /// `cached` is what to name when there are no more: an address without a page would cost a walk of the page table.
  LinesAhead(const void* p, std::ptrdiff_t bytes, const void* cached)
      : at_(static_cast<const char*>(p)), cached_(static_cast<const char*>(cached)), left_(bytes / 64) {}
  /// For the next `steps` steps: none if fewer lines are left.
  LinesAhead take(std::ptrdiff_t steps) {
    if (left_ < steps) return {cached_, 0, cached_};
    LinesAhead part = *this;
    part.stride_ = 64;
    at_ += steps * 64;
    left_ -= steps;
    return part;
  }
  /// Asks for the next line.
  void step() {
    __builtin_prefetch(at_, 0, 2);
    at_ += stride_;
  }

 private:
  const char *at_, *cached_;
  std::ptrdiff_t left_, stride_ = 0;
};
/// Takes the place of LinesAhead where nothing is to be pulled.
struct NothingAhead {
  /// As those of LinesAhead.
  NothingAhead take(std::ptrdiff_t) { return {}; }
  void step() {}
};

constexpr std::ptrdiff_t kWidenSteps = 32;  // pairs of a row widened at once: a tile stays in L1

/// R rows of A widened: `at(row, step)` is the offset of a number in both arrays.
template <int R, class A>
struct Widened;
/// Rows are contiguous: kWidth steps of a row at a time.
template <int R>
struct Widened<R, RowPairs> {
  alignas(64) float even[R * kWidenSteps], odd[R * kWidenSteps];
  /// Row by row.
  static constexpr std::ptrdiff_t at(std::ptrdiff_t row, std::ptrdiff_t step) { return row * kWidenSteps + step; }
  /// Steps [first, first + steps) of R rows.
  void load_steps(RowPairs a, std::ptrdiff_t first, std::ptrdiff_t steps) {
    for (std::ptrdiff_t r = 0; r < R; ++r) {
      for_each_vector(steps, [&](std::ptrdiff_t s, auto lanes) {
        const I32 pair = load_integers(a.at(r, first + s), lanes);
        store(even + at(r, s), even_of(pair));
        store(odd + at(r, s), odd_of(pair));
      });
    }
  }
};
/// Columns are contiguous: all rows of a step at a time.
template <int R>
struct Widened<R, ColumnPairs> {
  alignas(64) float even[kWidth * kWidenSteps], odd[kWidth * kWidenSteps];
  /// Step by step.
  static constexpr std::ptrdiff_t at(std::ptrdiff_t row, std::ptrdiff_t step) { return step * kWidth + row; }
  /// Steps [first, first + steps) of R rows.
  void load_steps(ColumnPairs a, std::ptrdiff_t first, std::ptrdiff_t steps) {
    for (std::ptrdiff_t s = 0; s < steps; ++s) {
      const I32 pair = load_integers(a.at(0, first + s), Partial{R});
      store(even + at(0, s), even_of(pair));
      store(odd + at(0, s), odd_of(pair));
    }
  }
};

/// Products of pairs by FMA.
struct FusedPairs {
  /// R rows x V vectors of sums in registers; out(row, sums) receives each row.  Not inlined, as broadcast_tile.
  template <int R, int V, class A, class Ahead, class Out>
  [[gnu::noinline]] static void tile(A a, const Bf16Pair* b, std::ptrdiff_t b_stride, std::ptrdiff_t steps, Ahead ahead,
                                     const Out& out) {
    static_assert(R < kWidth && kWidenSteps % kWidth == 0);
    F32 sum[R][V];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] = zero();
    }
    Widened<R, A> wide;
    for (std::ptrdiff_t first = 0; first < steps; first += kWidenSteps) {
      const std::ptrdiff_t count = steps - first < kWidenSteps ? steps - first : kWidenSteps;
      wide.load_steps(a, first, count);
      for (std::ptrdiff_t s = 0; s < count; ++s, b += b_stride) {
        ahead.step();
        F32 b_v[V];
        const auto add = [&](const float* a_s) __attribute__((always_inline)) {
#pragma GCC unroll 16
          for (int r = 0; r < R; ++r) {
            const F32 a_r = broadcast(a_s[wide.at(r, s)]);
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) sum[r][v] = fma(a_r, b_v[v], sum[r][v]);
          }
        };
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) b_v[v] = odd_of(load_integers(b + v * kWidth));
        add(wide.odd);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) b_v[v] = even_of(load_integers(b + v * kWidth));
        add(wide.even);
      }
    }
    F32 done[R][V];  // so that `sum`, whose address nobody takes, stays in registers
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) done[r][v] = sum[r][v];
    }
    for (int r = 0; r < R; ++r) out(r, done[r]);
  }
};

/// Products of pairs by an instruction, Dot::add.
template <class Dot>
struct DotTile {
  /// As FusedPairs::tile.
  template <int R, int V, class A, class Ahead, class Out>
  [[gnu::noinline]] static void tile(A a, const Bf16Pair* b, std::ptrdiff_t b_stride, std::ptrdiff_t steps, Ahead ahead,
                                     const Out& out) {
    F32 sum[R][V];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] = zero();
    }
    for (std::ptrdiff_t s = 0; s < steps; ++s, b += b_stride) {
      ahead.step();
      I32 b_v[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) b_v[v] = load_integers(b + v * kWidth);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        std::int32_t pair;
        __builtin_memcpy(&pair, a.at(r, s), sizeof pair);
        const I32 a_r = broadcast(pair);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) Dot::add(sum[r][v], a_r, b_v[v]);
      }
    }
    F32 done[R][V];  // so that `sum`, whose address nobody takes, stays in registers
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) done[r][v] = sum[r][v];
    }
    for (int r = 0; r < R; ++r) out(r, done[r]);
  }
};

/// All rows: R at a time, then fewer at a time.
template <class Pairs, int R, int V, class A, class Ahead, class Out>
inline void pair_tiles(std::ptrdiff_t rows, A a, const Bf16Pair* b, std::ptrdiff_t b_stride, std::ptrdiff_t steps,
                       Ahead& ahead, const Out& out, std::ptrdiff_t row = 0) {
  for (; row + R <= rows; row += R) {
    Pairs::template tile<R, V>(
        a.from_row(row), b, b_stride, steps,
        ahead.take(steps), [&](int r, const F32(&sum)[V]) __attribute__((always_inline)) { out(row + r, sum); });
  }
  if constexpr (R > 1) {
    pair_tiles<Pairs, (R > 8 ? 8 : R > 4 ? 4 : R / 2), V>(rows, a, b, b_stride, steps, ahead, out, row);
  }
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
