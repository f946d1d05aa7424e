#pragma once
// The vocabulary of generic/ in AVX2 + FMA + F16C: a vector is 8 floats, 16 virtual lanes are two of them.  Each word
// must give the same value per lane as its namesake in avx512/simd.h.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace kl::avx2 {
namespace {
namespace simd {

using F32 = __m256;  // + - * / are the compiler's vector operators; they are never fused (-ffp-contract=off)
using F64 = __m256d;
constexpr std::ptrdiff_t kWidth = 8;
constexpr int kParts = 16 / kWidth;  // vectors in 16 virtual lanes
constexpr int kRegisterTokens = 3;   // matmul tile: 4 rows of weights x 3 tokens = 12 of 16 registers
constexpr int kRegisterRows = 6;     // broadcast tile: 6 rows x 2 vectors = 12 of 16 registers

/// How many lanes a load or store touches; lanes beyond are loaded as 0.
struct Full {};
struct Partial {
  std::ptrdiff_t n;  // 0 < n < kWidth
};

inline __m256i mask_of(Partial p) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(p.n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

inline F32 zero() { return _mm256_setzero_ps(); }
inline F32 broadcast(float x) { return _mm256_set1_ps(x); }
inline F32 load(const float* p, Full = {}) { return _mm256_loadu_ps(p); }
inline F32 load(const float* p, Partial n) { return _mm256_maskload_ps(p, mask_of(n)); }
inline void store(float* p, F32 x, Full = {}) { _mm256_storeu_ps(p, x); }
inline void store(float* p, F32 x, Partial n) { _mm256_maskstore_ps(p, mask_of(n), x); }

/// Weights as they lie in the file, widened exactly.
struct Bf16 {
  std::uint16_t bits;
};
struct F16 {
  std::uint16_t bits;
};
inline F32 widen(__m128i x, Bf16) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16)); }
inline F32 widen(__m128i x, F16) { return _mm256_cvtph_ps(x); }
inline __m128i load16(const void* p, Full) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline __m128i load16(const void* p, Partial n) {  // AVX2 has no masked load of 16-bit elements
  std::uint16_t x[8] = {};
  __builtin_memcpy(x, p, static_cast<std::size_t>(n.n) * 2);
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
}
template <class Lanes = Full>
inline F32 load(const Bf16* p, Lanes lanes = {}) {
  return widen(load16(p, lanes), Bf16{});
}
template <class Lanes = Full>
inline F32 load(const F16* p, Lanes lanes = {}) {
  return widen(load16(p, lanes), F16{});
}

inline F32 fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }           // a b + c
inline F32 negated_fma(F32 a, F32 b, F32 c) { return _mm256_fnmadd_ps(a, b, c); }  // c - a b
inline F32 max(F32 a, F32 b) { return _mm256_max_ps(a, b); }                       // b if either is NaN
inline F32 abs(F32 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
inline F32 round(F32 a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

/// yes where a > b, else no (also where a or b is NaN).
inline F32 select_greater(F32 a, F32 b, F32 yes, F32 no) {
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}

/// x 2^n by adding the integer n to the exponent; the result must be a normal number.
inline F32 add_to_exponent(F32 x, F32 n) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
}

inline float first_lane(F32 x) { return _mm256_cvtss_f32(x); }

/// Sum of 16 virtual lanes: i with i + 8, then 4, 2, 1.
inline float sum_lanes(const F32 (&x)[kParts]) {
  const __m256 s8 = x[0] + x[1];
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

// Double precision, for sums whose error would be common to a whole vector (norms).  One F32 is two F64.
inline F64 broadcast(double x) { return _mm256_set1_pd(x); }
inline F64 low(F32 x) { return _mm256_cvtps_pd(_mm256_castps256_ps128(x)); }
inline F64 high(F32 x) { return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)); }
inline F32 narrow(F64 low, F64 high) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(low)), _mm256_cvtpd_ps(high), 1);
}
inline F64 fma(F64 a, F64 b, F64 c) { return _mm256_fmadd_pd(a, b, c); }

/// Sum of 16 virtual lanes of doubles, same tree.
inline double sum_lanes(const F64 (&x)[2 * kParts]) {
  const __m256d s4 = (x[0] + x[2]) + (x[1] + x[3]);
  const __m128d s2 = _mm_add_pd(_mm256_castpd256_pd128(s4), _mm256_extractf128_pd(s4, 1));
  return _mm_cvtsd_f64(_mm_add_sd(s2, _mm_unpackhi_pd(s2, s2)));
}

}  // namespace simd
}  // namespace
}  // namespace kl::avx2
