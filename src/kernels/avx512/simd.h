#pragma once
// The vocabulary of generic/ in AVX-512: a vector is 16 floats.  Each word must give the same value per lane as its
// namesake in avx2/simd.h; with the fixed trees of sum_lanes that is all it takes to agree bit for bit.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // false alarms in the AVX-512 headers of GCC 12 (PR 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace kl::avx512 {
namespace {
namespace simd {

using F32 = __m512;  // + - * / are the compiler's vector operators; they are never fused (-ffp-contract=off)
using F64 = __m512d;
constexpr std::ptrdiff_t kWidth = 16;
constexpr int kParts = 16 / kWidth;  // vectors in 16 virtual lanes
constexpr int kRegisterTokens = 6;   // matmul tile: 4 rows of weights x 6 tokens = 24 of 32 registers
constexpr int kRegisterRows = 12;    // broadcast tile: 12 rows x 2 vectors = 24 of 32 registers

/// A load or store of all lanes.
struct Full {};

/// A load or store of the first few; the others are loaded as 0.
struct Partial {
  std::ptrdiff_t n;  // 0 < n < kWidth
};

/// These lanes as masked instructions name them.
inline __mmask16 mask_of(Partial p) { return static_cast<__mmask16>((1u << p.n) - 1u); }

/// 0 or x in every lane; the floats at p, and back.
inline F32 zero() { return _mm512_setzero_ps(); }
inline F32 broadcast(float x) { return _mm512_set1_ps(x); }
inline F32 load(const float* p, Full = {}) { return _mm512_loadu_ps(p); }
inline F32 load(const float* p, Partial n) { return _mm512_maskz_loadu_ps(mask_of(n), p); }
inline void store(float* p, F32 x, Full = {}) { _mm512_storeu_ps(p, x); }
inline void store(float* p, F32 x, Partial n) { _mm512_mask_storeu_ps(p, mask_of(n), x); }

/// Weights as they lie in the file, widened exactly.
struct Bf16 {
  std::uint16_t bits;
};
/// The same of half precision.
struct F16 {
  std::uint16_t bits;
};
/// 16 bits a lane, loaded and widened.
inline F32 widen(__m256i x, Bf16) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
inline F32 widen(__m256i x, F16) { return _mm512_cvtph_ps(x); }
inline __m256i load16(const void* p, Full) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline __m256i load16(const void* p, Partial n) { return _mm256_maskz_loadu_epi16(mask_of(n), p); }
/// Weights in bf16.
template <class Lanes = Full>
inline F32 load(const Bf16* p, Lanes lanes = {}) {
  return widen(load16(p, lanes), Bf16{});
}
/// Weights in f16.
template <class Lanes = Full>
inline F32 load(const F16* p, Lanes lanes = {}) {
  return widen(load16(p, lanes), F16{});
}

/// As bf16 in the low half of each lane: rounds to nearest even; NaN stays NaN.
inline __m512i bf16_bits(F32 x) {
  const __m512i bits = _mm512_castps_si512(x),
                odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd), 16);
  return _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), rounded, _mm512_set1_epi32(0x7fc0));
}
/// Rounds and stores.
inline void store(Bf16* p, F32 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(bf16_bits(x)));
}

/// Arithmetic lane by lane.
inline F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }           // a b + c
inline F32 negated_fma(F32 a, F32 b, F32 c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a b
inline F32 max(F32 a, F32 b) { return _mm512_max_ps(a, b); }                       // b if either is NaN
inline F32 abs(F32 a) { return _mm512_abs_ps(a); }
inline F32 round(F32 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

/// yes where a > b, else no (also where a or b is NaN).
inline F32 select_greater(F32 a, F32 b, F32 yes, F32 no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), no, yes);
}

/// x 2^n by adding the integer n to the exponent; the result must be a normal number.
inline F32 add_to_exponent(F32 x, F32 n) {
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23)));
}

/// Lane 0.
inline float first_lane(F32 x) { return _mm512_cvtss_f32(x); }

/// Sum of 16 virtual lanes: i with i + 8, then 4, 2, 1.
inline float sum_lanes(const F32 (&x)[kParts]) {
  const __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(x[0]), _mm512_extractf32x8_ps(x[0], 1));
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

// Double precision, for sums whose error would be common to a whole vector (norms).  One F32 is two F64.
inline F64 broadcast(double x) { return _mm512_set1_pd(x); }
inline F64 low(F32 x) { return _mm512_cvtps_pd(_mm512_castps512_ps256(x)); }
inline F64 high(F32 x) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)); }
inline F32 narrow(F64 low, F64 high) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
}
/// a b + c, rounded once.
inline F64 fma(F64 a, F64 b, F64 c) { return _mm512_fmadd_pd(a, b, c); }

/// Sum of 16 virtual lanes of doubles, same tree.
inline double sum_lanes(const F64 (&x)[2 * kParts]) {
  const F64 s8 = x[0] + x[1];
  const __m256d s4 = _mm256_add_pd(_mm512_castpd512_pd256(s8), _mm512_extractf64x4_pd(s8, 1));
  const __m128d s2 = _mm_add_pd(_mm256_castpd256_pd128(s4), _mm256_extractf128_pd(s4, 1));
  return _mm_cvtsd_f64(_mm_add_sd(s2, _mm_unpackhi_pd(s2, s2)));
}

// Integers: a vector is 16 numbers of 32 bits, or 16 groups of 4 bytes.
using I32 = __m512i;
constexpr int kPackedTokens =
    6;  // packed tile: 2 blocks of weights x 6 tokens, integer and float sums, 24 of 32 registers

/// x in every lane; the integers at p, and back; the halves of every byte.
inline I32 broadcast(std::int32_t x) { return _mm512_set1_epi32(x); }
inline I32 load_integers(const void* p, Full = {}) { return _mm512_loadu_si512(p); }
inline I32 load_integers(const void* p, Partial n) { return _mm512_maskz_loadu_epi32(mask_of(n), p); }
inline void store_integers(void* p, I32 x, Full = {}) { _mm512_storeu_si512(p, x); }
inline void store_integers(void* p, I32 x, Partial n) { _mm512_mask_storeu_epi32(p, mask_of(n), x); }
inline I32 low_nibbles(I32 x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
inline I32 high_nibbles(I32 x) { return low_nibbles(_mm512_srli_epi32(x, 4)); }
/// Every lane by n bits, away from 0.
template <int n>
inline I32 shift_left(I32 x) {
  return _mm512_slli_epi32(x, n);
}
/// Every lane by n bits, zeros come in.
template <int n>
inline I32 shift_right(I32 x) {
  return _mm512_srli_epi32(x, n);
}
/// The same by an n known only now; the bits of a mask; the integers as floats.
inline I32 shift_right(I32 x, int n) { return _mm512_srl_epi32(x, _mm_cvtsi32_si128(n)); }
inline I32 mask_bits(I32 x, int mask) { return _mm512_and_si512(x, _mm512_set1_epi32(mask)); }
inline F32 to_float(I32 x) { return _mm512_cvtepi32_ps(x); }

/// sum += the four products of unsigned bytes of w and signed bytes of x in each lane, exactly.  `Bits`: w < 2^Bits.
/// Assembly, because g++ 12 copies and spills the accumulators of the intrinsic.
template <int Bits>
inline void add_products(I32& sum, I32 w, I32 x) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
}

// Pairs of bf16: a lane holds the even one in its low half and the odd one in its high half.
inline F32 even_of(I32 pair) { return _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16)); }
inline F32 odd_of(I32 pair) {
  return _mm512_castsi512_ps(_mm512_and_si512(pair, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
}
/// Both rounded to nearest even.
inline I32 round_pair(F32 even, F32 odd) {
  return _mm512_or_si512(bf16_bits(even), _mm512_slli_epi32(bf16_bits(odd), 16));
}
/// Of numbers that are bf16 already.
inline I32 join_pair(F32 even, F32 odd) {
  return _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(even), 16), _mm512_castps_si512(odd));
}

/// Products of pairs by the instruction for them.  Assembly: the table without it is compiled with the same flags.
struct DotPairs {
  /// sum + a_odd b_odd + a_even b_even, in this order, rounded twice; subnormals are taken and given as 0.
  static void add(F32& sum, I32 a, I32 b) { asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b)); }
};

/// Rounds to nearest even and stores as signed bytes; NaN becomes -128.
inline void store_bytes(std::int8_t* p, F32 x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)));
}

/// 16 signed bytes as floats.
inline F32 load_bytes(const std::int8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

/// The largest absolute value; NaN if any lane is: as integers, NaN is above infinity.
inline float max_abs(F32 a) {
  const I32 bits = _mm512_castps_si512(_mm512_abs_ps(a));
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(_mm512_reduce_max_epi32(bits))));
}
/// The larger absolute value of each lane; NaN if one of the two is.
inline F32 max_abs(F32 a, F32 b) {
  return _mm512_castsi512_ps(
      _mm512_max_epi32(_mm512_castps_si512(_mm512_abs_ps(a)), _mm512_castps_si512(_mm512_abs_ps(b))));
}

/// Sum of the 16 signed bytes at p.
inline std::int32_t sum_bytes(const std::int8_t* p) {
  return _mm512_reduce_add_epi32(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

}  // namespace simd
}  // namespace
}  // namespace kl::avx512
