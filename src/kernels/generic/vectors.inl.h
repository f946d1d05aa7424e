#pragma once
// How kernels walk over vectors of any length.  The files of this folder are the fast kernels, written once: each
// instruction set includes them after its own simd.h, with KL_ISA_NAMESPACE naming its namespace.
#include <cstddef>

#include "kernels/kernels.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

using namespace simd;

/// Calls f(i, Full) for each whole vector of n elements and f(i, Partial) for what is left.
template <class F>
inline void for_each_vector(std::ptrdiff_t n, F f) {
  std::ptrdiff_t i = 0;
  for (; i + kWidth <= n; i += kWidth) f(i, Full{});
  if (i < n) f(i, Partial{n - i});
}

/// A head's part of a row is short and the next row far away: the CPU does not foresee it.  Kernels that walk over such
/// rows ask for them this many ahead.
constexpr std::ptrdiff_t kRowsAhead = 4;

/// Asks for a row [n].
inline void prefetch_row(const float* row, std::ptrdiff_t n) {
  for (std::ptrdiff_t i = 0; i < n; i += 16) __builtin_prefetch(row + i);
}

/// Calls f with a value of the C++ type in which row-major weights of `type` are stored.
template <class F>
inline void with_weight_type(DType type, F f) {
  switch (type) {
    case DType::kF32:
      return f(float{});
    case DType::kBF16:
      return f(Bf16{});
    case DType::kF16:
      return f(F16{});
    case DType::kPacked:
      return;  // has kernels of its own
  }
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
