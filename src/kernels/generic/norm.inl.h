#pragma once
// Norms and element-wise operations.  Sums of squares are taken in double: their error would be common to a whole
// vector, and the cost does not show beside the matrices (docs/kernels.md).
#include "kernels/generic/functions.inl.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

/// 16 virtual lanes of doubles.
struct Sum64 {
  F64 lanes[2 * kParts];

  /// 0.
  Sum64() {
    for (F64& lane : lanes) lane = broadcast(0.0);
  }

  /// lanes += x y for the `part`-th vector of a group of 16.
  void add_product(int part, F32 x, F32 y) {
    lanes[2 * part] = fma(low(x), low(y), lanes[2 * part]);
    lanes[2 * part + 1] = fma(high(x), high(y), lanes[2 * part + 1]);
  }
};

/// sum x[i] y[i] in double.
inline double dot64(const float* x, const float* y, std::ptrdiff_t n) {
  Sum64 sum;
  std::ptrdiff_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int part = 0; part < kParts; ++part) {
      sum.add_product(part, load(x + i + part * kWidth), load(y + i + part * kWidth));
    }
  }
  for (int part = 0; i < n; i += kWidth, ++part) {
    if (n - i >= kWidth) {
      sum.add_product(part, load(x + i), load(y + i));
    } else {
      sum.add_product(part, load(x + i, Partial{n - i}), load(y + i, Partial{n - i}));
    }
  }
  return sum_lanes(sum.lanes);
}

/// 1 / sqrt(mean(x^2) + eps) in double.
inline double inverse_rms(const float* x, float eps, std::ptrdiff_t n) {
  return 1 / __builtin_sqrt(dot64(x, x, n) / static_cast<double>(n) + static_cast<double>(eps));
}

/// w (x r), rounded once.
inline F32 scale_and_weigh(F32 x, F32 w, F64 r) { return narrow(low(w) * (low(x) * r), high(w) * (high(x) * r)); }

/// RmsNormFn.
void rms_norm(const float* x, const float* w, float eps, std::ptrdiff_t n, float* y) noexcept {
  const F64 r = broadcast(inverse_rms(x, eps, n));
  for_each_vector(n, [&](std::ptrdiff_t i, auto lanes) {
    store(y + i, scale_and_weigh(load(x + i, lanes), load(w + i, lanes), r), lanes);
  });
}

/// GatedRmsNormFn.
void gated_rms_norm(const float* o, const float* w, float eps, const float* gate, std::ptrdiff_t n, float* y) noexcept {
  const F64 r = broadcast(inverse_rms(o, eps, n));
  for_each_vector(n, [&](std::ptrdiff_t i, auto lanes) {
    const F32 normed = scale_and_weigh(load(o + i, lanes), load(w + i, lanes), r);
    store(y + i, normed * sigmoid(load(gate + i, lanes)), lanes);
  });
}

/// AddFn.
void add(const float* x, std::ptrdiff_t n, float* y) noexcept {
  for_each_vector(n,
                  [&](std::ptrdiff_t i, auto lanes) { store(y + i, load(y + i, lanes) + load(x + i, lanes), lanes); });
}

/// SiluMulFn.
void silu_mul(const float* gate, const float* up, std::ptrdiff_t n, float* y) noexcept {
  for_each_vector(
      n, [&](std::ptrdiff_t i, auto lanes) { store(y + i, silu(load(gate + i, lanes)) * load(up + i, lanes), lanes); });
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
