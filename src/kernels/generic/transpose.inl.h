#pragma once
// Rows to lanes and back.  Pure data movement, in 8 x 8 blocks of AVX for every instruction set.
#include "kernels/generic/vectors.inl.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

/// Transposes eight rows of eight floats in place: swaps at distance 1, 2 and 4.
inline void transpose8(__m256 (&x)[8]) {
  __m256 a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
    a[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      b[i + 2 * j] = _mm256_shuffle_ps(a[i + j], a[i + j + 2], 0x44);
      b[i + 2 * j + 1] = _mm256_shuffle_ps(a[i + j], a[i + j + 2], 0xee);
    }
  }
  for (int i = 0; i < 4; ++i) {
    x[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
    x[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
  }
}

/// dst[c][lane] = src[lane][c] for eight lanes.
inline void pack_eight_lanes(const float* const* src, std::ptrdiff_t n, float* dst) {
  std::ptrdiff_t c = 0;
  for (; c + 8 <= n; c += 8) {
    __m256 x[8];
    for (int i = 0; i < 8; ++i) x[i] = _mm256_loadu_ps(src[i] + c);
    transpose8(x);
    for (int i = 0; i < 8; ++i) _mm256_storeu_ps(dst + (c + i) * kLanes, x[i]);
  }
  for (; c < n; ++c) {
    for (int i = 0; i < 8; ++i) dst[c * kLanes + i] = src[i][c];
  }
}

/// PackLanesFn: eight lanes at a time, what is left one by one.
void pack_lanes(const float* const* src, std::ptrdiff_t rows, std::ptrdiff_t n, float* dst) noexcept {
  const std::ptrdiff_t whole = rows / 8 * 8;
  for (std::ptrdiff_t lane = 0; lane < whole; lane += 8) pack_eight_lanes(src + lane, n, dst + lane);
  for (std::ptrdiff_t c = 0; c < n; ++c) {
    for (std::ptrdiff_t lane = whole; lane < kLanes; ++lane) dst[c * kLanes + lane] = lane < rows ? src[lane][c] : 0.0f;
  }
}

/// AttendFinishFn: divides and transposes back.
void attend_finish(const AttendState& s, std::ptrdiff_t Dv, float* const* dst, std::ptrdiff_t rows) noexcept {
  const std::ptrdiff_t whole_rows = rows / 8 * 8, whole = Dv / 8 * 8;
  for (std::ptrdiff_t lane = 0; lane < whole_rows; lane += 8) {
    const __m256 l = _mm256_loadu_ps(s.l + lane);
    for (std::ptrdiff_t d = 0; d < whole; d += 8) {
      __m256 x[8];
      for (int i = 0; i < 8; ++i) x[i] = _mm256_div_ps(_mm256_loadu_ps(s.O + (d + i) * kLanes + lane), l);
      transpose8(x);
      for (int i = 0; i < 8; ++i) _mm256_storeu_ps(dst[lane + i] + d, x[i]);
    }
  }
  for (std::ptrdiff_t lane = 0; lane < rows; ++lane) {
    const std::ptrdiff_t done = lane < whole_rows ? whole : 0;
    for (std::ptrdiff_t d = done; d < Dv; ++d) dst[lane][d] = s.O[d * kLanes + lane] / s.l[lane];
  }
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
