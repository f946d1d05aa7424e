#include <cmath>
#include <cstring>

#include "kernels/reference/ops.h"

namespace kl::reference {
namespace {

/// The largest magnitude; NaN if there is a NaN.
float scale_of(const float* x, std::ptrdiff_t n) {
  float largest = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    if (std::isnan(x[i])) return NAN;
    largest = std::fmax(largest, std::fabs(x[i]));
  }
  return largest;
}

/// n numbers as signed bytes, and their scale.
void store_part(const float* x, std::ptrdiff_t n, std::int8_t* q, std::byte* scale_out) {
  const float largest = scale_of(x, n);
  const bool is_zero = largest < kSmallestActivation;
  const float inverse = is_zero ? 0 : 127.0f / largest, scale = is_zero ? 0 : largest / 127.0f;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    const float scaled = x[i] * inverse;
    q[i] = static_cast<std::int8_t>(std::isnan(scaled) ? -128 : static_cast<int>(std::nearbyint(scaled)));
  }
  std::memcpy(scale_out, &scale, sizeof scale);
}

}  // namespace

void store_latent(const LatentFormat& f, const float* row, std::byte* dst) noexcept {
  if (f.type == LatentType::kF32) std::memcpy(dst, row, static_cast<std::size_t>(f.row_bytes()));
  if (f.type == LatentType::kBf16) {
    for (std::ptrdiff_t i = 0; i < f.floats(); ++i) reinterpret_cast<std::uint16_t*>(dst)[i] = f32_to_bf16(row[i]);
    if (f.floats() % 2 != 0) reinterpret_cast<std::uint16_t*>(dst)[f.floats()] = 0;
  }
  if (f.type == LatentType::kInt8) {
    auto* q = reinterpret_cast<std::int8_t*>(dst);
    store_part(row, f.R, q, dst + f.scales_at());
    store_part(row + f.R, f.P, q + f.R, dst + f.scales_at() + 4);
  }
}

void load_latents(const LatentFormat& f, const std::byte* rows, std::ptrdiff_t n, float* dst) noexcept {
  for (std::ptrdiff_t t = 0; t < n; ++t, rows += f.row_bytes()) {
    float scales[2] = {};
    if (f.type == LatentType::kInt8) std::memcpy(scales, rows + f.scales_at(), sizeof scales);
    for (std::ptrdiff_t i = 0; i < f.floats(); ++i, ++dst) {
      if (f.type == LatentType::kF32) *dst = reinterpret_cast<const float*>(rows)[i];
      if (f.type == LatentType::kBf16) *dst = bf16_to_f32(reinterpret_cast<const std::uint16_t*>(rows)[i]);
      if (f.type == LatentType::kInt8) *dst = static_cast<float>(static_cast<std::int8_t>(rows[i])) * scales[i >= f.R];
    }
  }
}

}  // namespace kl::reference
