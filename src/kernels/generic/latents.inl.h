#pragma once
// Cached latents in and out of their storage types (latents.h).
#include "kernels/generic/vectors.inl.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

/// n numbers as signed bytes and their scale.
inline void store_part(const float* x, std::ptrdiff_t n, std::int8_t* q, std::byte* scale_out) {
  F32 largest = zero();
  for_each_vector(n, [&](std::ptrdiff_t i, auto lanes) { largest = max_abs(largest, load(x + i, lanes)); });
  const float most = max_abs(largest);
  const bool is_zero = most < kSmallestActivation;
  const float inverse = is_zero ? 0.0f : 127.0f / most, scale = is_zero ? 0.0f : most / 127.0f;
  std::ptrdiff_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store_bytes(q + i, load(x + i) * broadcast(inverse));
  if (i < n) {
    std::int8_t rest[kWidth];
    store_bytes(rest, load(x + i, Partial{n - i}) * broadcast(inverse));
    __builtin_memcpy(q + i, rest, static_cast<std::size_t>(n - i));
  }
  __builtin_memcpy(scale_out, &scale, sizeof scale);
}

/// StoreLatentFn.
void store_latent(const LatentFormat& f, const float* row, std::byte* dst) noexcept {
  switch (f.type) {
    case LatentType::kF32:
      __builtin_memcpy(dst, row, static_cast<std::size_t>(f.row_bytes()));
      return;
    case LatentType::kBf16: {
      auto* out = reinterpret_cast<std::uint16_t*>(dst);
      for (std::ptrdiff_t i = 0; i < f.floats(); ++i) out[i] = f32_to_bf16(row[i]);
      if (f.floats() % 2 != 0) out[f.floats()] = 0;
      return;
    }
    case LatentType::kInt8: {
      auto* q = reinterpret_cast<std::int8_t*>(dst);
      store_part(row, f.R, q, dst + f.scales_at());
      store_part(row + f.R, f.P, q + f.R, dst + f.scales_at() + 4);
      return;
    }
  }
}

/// n signed bytes times their scale.
inline void load_part(const std::int8_t* q, std::ptrdiff_t n, const std::byte* scale_in, float* dst) {
  float scale;
  __builtin_memcpy(&scale, scale_in, sizeof scale);
  std::ptrdiff_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(dst + i, load_bytes(q + i) * broadcast(scale));
  for (; i < n; ++i) dst[i] = static_cast<float>(q[i]) * scale;
}

/// LoadLatentsFn.
void load_latents(const LatentFormat& f, const std::byte* rows, std::ptrdiff_t n, float* dst) noexcept {
  for (std::ptrdiff_t t = 0; t < n; ++t, rows += f.row_bytes(), dst += f.floats()) {
    switch (f.type) {
      case LatentType::kF32:
        __builtin_memcpy(dst, rows, static_cast<std::size_t>(f.row_bytes()));
        break;
      case LatentType::kBf16:
        for_each_vector(f.floats(), [&](std::ptrdiff_t i, auto lanes) {
          store(dst + i, load(reinterpret_cast<const Bf16*>(rows) + i, lanes), lanes);
        });
        break;
      case LatentType::kInt8: {
        const auto* q = reinterpret_cast<const std::int8_t*>(rows);
        load_part(q, f.R, rows + f.scales_at(), dst);
        load_part(q + f.R, f.P, rows + f.scales_at() + 4, dst + f.R);
        break;
      }
    }
  }
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
