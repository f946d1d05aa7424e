// Packed weights by the letter of packed.h: one element at a time.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "kernels/reference/ops.h"

namespace kl::reference {
namespace {

/// Where output n and input k of a packed matrix lie.
struct Place {
  const std::byte* tile;
  std::ptrdiff_t r, i;  // output and input within the tile

  /// Of element [n, k].
  Place(const WeightMatrix& w, std::ptrdiff_t n, std::ptrdiff_t k)
      : tile(static_cast<const std::byte*>(w.data) + n / kTileOutputs * w.format.block_bytes(w.K) +
             k / kTileInputs * w.format.tile_bytes()),
        r(n % kTileOutputs),
        i(k % kTileInputs) {}
};

/// The number q of w = scale q + minimum.
int quant_at(const PackedFormat& f, const Place& p) {
  const auto byte = [&](std::ptrdiff_t line) { return static_cast<unsigned>(p.tile[64 * line + 4 * p.r + p.i % 4]); };
  const auto nibble = [&](std::ptrdiff_t line) { return p.i % 8 < 4 ? byte(line) & 15u : byte(line) >> 4; };
  if (f.bits == 8) return static_cast<int>(byte(p.i / 4));
  if (f.bits == 4) return static_cast<int>(nibble(p.i / 8));
  const std::ptrdiff_t lines = p.i / 16 * 3;
  const unsigned high = byte(lines + 2) >> (p.i % 16 / 4 * 2) & 3u;
  return static_cast<int>(nibble(lines + p.i % 16 / 8) | high << 4);
}

/// Its scale.
double scale_at(const PackedFormat& f, const Place& p) {
  return element(p.tile + f.quant_bytes(), f.scale_type, p.i / f.group * kTileOutputs + p.r);
}

/// Its minimum, of formats without one too.
double minimum_at(const PackedFormat& f, const Place& p) {
  if (!f.has_minimum) return -std::ldexp(scale_at(f, p), f.bits - 1);
  return element(p.tile + f.quant_bytes() + f.scales_bytes(), f.scale_type, p.i / f.group * kTileOutputs + p.r);
}

/// A part of an ActivationRow.
template <class T>
T* part(std::byte* row, std::ptrdiff_t at) {
  return reinterpret_cast<T*>(row + at);
}
/// The same, to read.
template <class T>
const T* part(const std::byte* row, std::ptrdiff_t at) {
  return reinterpret_cast<const T*>(row + at);
}

}  // namespace

double weight_at(const WeightMatrix& w, std::ptrdiff_t n, std::ptrdiff_t k) {
  if (w.type != DType::kPacked) return element(w.data, w.type, n * w.stride + k);
  const Place p(w, n, k);
  return scale_at(w.format, p) * quant_at(w.format, p) + minimum_at(w.format, p);
}

void quantize_row(const float* x, std::ptrdiff_t K, std::byte* row, std::ptrdiff_t k0, std::ptrdiff_t k1) noexcept {
  const std::ptrdiff_t first = k0 / kActivationGroup, last = k1 < K ? k1 / kActivationGroup : ActivationRow::groups(K);
  auto* q = part<std::int8_t>(row, 0);
  auto* scale = part<float>(row, ActivationRow::scale_at(K));
  auto* zero = part<std::int32_t>(row, ActivationRow::zero_at(K));
  auto* sum = part<float>(row, ActivationRow::sum_at(K));
  auto* zero16 = part<std::int32_t>(row, ActivationRow::zero16_at(K));
  for (std::ptrdiff_t g = first; g < last; ++g) {
    float largest = 0;
    bool is_nan = false;
    const auto x_at = [&](std::ptrdiff_t i) { return i < k1 ? x[i - k0] : 0.0f; };
    for (std::ptrdiff_t i = g * kActivationGroup; i < (g + 1) * kActivationGroup; ++i) {
      largest = std::fmax(largest, std::fabs(x_at(i)));
      is_nan |= std::isnan(x_at(i));
    }
    if (is_nan) largest = NAN;
    const float inverse = largest < kSmallestActivation ? 0 : 127.0f / largest;
    int total = 0, totals[2] = {};
    for (std::ptrdiff_t i = g * kActivationGroup; i < (g + 1) * kActivationGroup; ++i) {
      const float scaled = x_at(i) * inverse;
      q[i] = static_cast<std::int8_t>(std::isnan(scaled) ? -128 : static_cast<int>(std::nearbyint(scaled)));
      total += q[i];
      totals[i / 16 % 2] += q[i];
    }
    scale[g] = largest < kSmallestActivation ? 0 : largest / 127.0f;
    zero[g] = -8 * total;
    for (std::ptrdiff_t half = 0; half < 2; ++half) zero16[2 * g + half] = -8 * totals[half];
    sum[g] = scale[g] * static_cast<float>(total);
  }
  auto* pair_sum = part<float>(row, ActivationRow::pair_sum_at(K));
  for (std::ptrdiff_t g = first; g < last; g += 2) pair_sum[g / 2] = sum[g] + sum[g + 1];
}

void matmul_packed(const MatmulArgs& a, std::ptrdiff_t n0, std::ptrdiff_t n1) noexcept {
  const PackedFormat& f = a.w.format;
  const std::ptrdiff_t step = std::min<std::ptrdiff_t>(f.group, kActivationGroup);  // shares both scales
  for (std::ptrdiff_t m = 0; m < a.M; ++m) {
    const std::byte* row = a.q + m * ActivationRow::bytes(a.w.K);
    const auto* q = part<std::int8_t>(row, 0);
    const auto* scale = part<float>(row, ActivationRow::scale_at(a.w.K));
    for (std::ptrdiff_t n = n0; n < n1; ++n) {
      double y = 0;
      for (std::ptrdiff_t k = 0; k < a.w.K; k += step) {
        const Place p(a.w, n, k);
        double products = 0, total = 0;  // of integers
        for (std::ptrdiff_t i = k; i < k + step && i < a.w.K; ++i) {
          products += quant_at(f, Place(a.w, n, i)) * q[i];
          total += q[i];
        }
        y += (scale_at(f, p) * products + minimum_at(f, p) * total) * double{scale[k / kActivationGroup]};
      }
      a.y[m * a.y_stride + n] = static_cast<float>(y);
    }
  }
}

}  // namespace kl::reference
