#pragma once
// Activations in 8 bits, as packed.h lays them out.
#include "kernels/generic/vectors.inl.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

constexpr int kGroupVectors = static_cast<int>(kActivationGroup / kWidth);

/// 32 numbers of x [n] from `at` on, zeros beyond n.
inline void load_group(const float* x, std::ptrdiff_t n, std::ptrdiff_t at, F32 (&out)[kGroupVectors]) {
  for (int v = 0; v < kGroupVectors; ++v) {
    const std::ptrdiff_t i = at + v * kWidth;
    out[v] = i + kWidth <= n ? load(x + i) : i < n ? load(x + i, Partial{n - i}) : zero();
  }
}

/// QuantizeRowFn.
void quantize_row(const float* x, std::ptrdiff_t K, std::byte* row, std::ptrdiff_t k0, std::ptrdiff_t k1) noexcept {
  auto* q = reinterpret_cast<std::int8_t*>(row) + k0;
  auto* scale = reinterpret_cast<float*>(row + ActivationRow::scale_at(K));
  auto* zeros = reinterpret_cast<std::int32_t*>(row + ActivationRow::zero_at(K));
  auto* sum = reinterpret_cast<float*>(row + ActivationRow::sum_at(K));
  auto* pair_sum = reinterpret_cast<float*>(row + ActivationRow::pair_sum_at(K));
  auto* zeros16 = reinterpret_cast<std::int32_t*>(row + ActivationRow::zero16_at(K));
  const std::ptrdiff_t last = k1 < K ? k1 / kActivationGroup : ActivationRow::groups(K);
  for (std::ptrdiff_t g = k0 / kActivationGroup; g < last; ++g, q += kActivationGroup) {
    F32 x_g[kGroupVectors];
    load_group(x, k1 - k0, g * kActivationGroup - k0, x_g);
    F32 largest = x_g[0];
    for (int v = 1; v < kGroupVectors; ++v) largest = max_abs(largest, x_g[v]);
    const float most = max_abs(largest);
    const bool is_zero = most < kSmallestActivation;
    const F32 inverse = broadcast(is_zero ? 0.0f : 127.0f / most);
    for (int v = 0; v < kGroupVectors; ++v) store_bytes(q + v * kWidth, x_g[v] * inverse);
    const std::int32_t first = sum_bytes(q), total = first + sum_bytes(q + 16);
    scale[g] = is_zero ? 0.0f : most / 127.0f;
    zeros[g] = -8 * total;
    zeros16[2 * g] = -8 * first;
    zeros16[2 * g + 1] = -8 * (total - first);
    sum[g] = scale[g] * static_cast<float>(total);
    if (g % 2 == 1) pair_sum[g / 2] = sum[g - 1] + sum[g];
  }
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
