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

/// A load or store of all lanes.
struct Full {};

/// A load or store of the first few; the others are loaded as 0.
struct Partial {
  std::ptrdiff_t n;  // 0 < n < kWidth
};

/// These lanes as masked instructions name them.
inline __m256i mask_of(Partial p) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(p.n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/// 0 or x in every lane; the floats at p, and back.
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
/// The same of half precision.
struct F16 {
  std::uint16_t bits;
};
/// 16 bits a lane, loaded and widened.
inline F32 widen(__m128i x, Bf16) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16)); }
inline F32 widen(__m128i x, F16) { return _mm256_cvtph_ps(x); }
inline __m128i load16(const void* p, Full) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline __m128i load16(const void* p, Partial n) {  // AVX2 has no masked load of 16-bit elements
  std::uint16_t x[8] = {};
  __builtin_memcpy(x, p, static_cast<std::size_t>(n.n) * 2);
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
}
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
inline __m256i bf16_bits(F32 x) {
  const __m256i bits = _mm256_castps_si256(x),
                odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), nan);
}
/// Rounds and stores.
inline void store(Bf16* p, F32 x) {
  const __m256i result = bf16_bits(x);
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(result, result), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(words));
}

/// Arithmetic lane by lane.
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

/// Lane 0.
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
/// a b + c, rounded once.
inline F64 fma(F64 a, F64 b, F64 c) { return _mm256_fmadd_pd(a, b, c); }

/// Sum of 16 virtual lanes of doubles, same tree.
inline double sum_lanes(const F64 (&x)[2 * kParts]) {
  const __m256d s4 = (x[0] + x[2]) + (x[1] + x[3]);
  const __m128d s2 = _mm_add_pd(_mm256_castpd256_pd128(s4), _mm256_extractf128_pd(s4, 1));
  return _mm_cvtsd_f64(_mm_add_sd(s2, _mm_unpackhi_pd(s2, s2)));
}

// Integers: a vector is 8 numbers of 32 bits, or 8 groups of 4 bytes.
using I32 = __m256i;
constexpr int kPackedTokens =
    2;  // packed tile: 1 block of weights x 2 tokens, integer and float sums, 8 of 16 registers

/// x in every lane; the integers at p, and back; the halves of every byte.
inline I32 broadcast(std::int32_t x) { return _mm256_set1_epi32(x); }
inline I32 load_integers(const void* p, Full = {}) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
/// The first few.
inline I32 load_integers(const void* p, Partial n) {
  return _mm256_maskload_epi32(static_cast<const int*>(p), mask_of(n));
}
/// Back to p; the halves of every byte.
inline void store_integers(void* p, I32 x, Full = {}) { _mm256_storeu_si256(static_cast<__m256i*>(p), x); }
inline void store_integers(void* p, I32 x, Partial n) { _mm256_maskstore_epi32(static_cast<int*>(p), mask_of(n), x); }
inline I32 low_nibbles(I32 x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
inline I32 high_nibbles(I32 x) { return low_nibbles(_mm256_srli_epi32(x, 4)); }
/// Every lane by n bits, away from 0.
template <int n>
inline I32 shift_left(I32 x) {
  return _mm256_slli_epi32(x, n);
}
/// Every lane by n bits, zeros come in.
template <int n>
inline I32 shift_right(I32 x) {
  return _mm256_srli_epi32(x, n);
}
/// The same by an n known only now; the bits of a mask; the integers as floats.
inline I32 shift_right(I32 x, int n) { return _mm256_srl_epi32(x, _mm_cvtsi32_si128(n)); }
inline I32 mask_bits(I32 x, int mask) { return _mm256_and_si256(x, _mm256_set1_epi32(mask)); }
inline F32 to_float(I32 x) { return _mm256_cvtepi32_ps(x); }

/// sum += the four products of unsigned bytes of w and signed bytes of x in each lane, exactly.  `Bits`: w < 2^Bits.
/// vpmaddubsw adds two products in 16 bits: 2 x 63 x 128 fits, 2 x 255 x 128 does not, so such bytes are widened first.
template <int Bits>
inline void add_products(I32& sum, I32 w, I32 x) {
  if constexpr (Bits <= 6) {
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
  } else {
    const I32 w_even = _mm256_and_si256(w, _mm256_set1_epi16(255)), w_odd = _mm256_srli_epi16(w, 8);
    const I32 x_even = _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8), x_odd = _mm256_srai_epi16(x, 8);
    sum = _mm256_add_epi32(sum, _mm256_add_epi32(_mm256_madd_epi16(w_even, x_even), _mm256_madd_epi16(w_odd, x_odd)));
  }
}

// Pairs of bf16: a lane holds the even one in its low half and the odd one in its high half.
inline F32 even_of(I32 pair) { return _mm256_castsi256_ps(_mm256_slli_epi32(pair, 16)); }
inline F32 odd_of(I32 pair) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_srli_epi32(pair, 16), 16)); }
inline I32 round_pair(F32 even, F32 odd) {
  return _mm256_or_si256(bf16_bits(even), _mm256_slli_epi32(bf16_bits(odd), 16));
}
/// Of numbers that are bf16 already.
inline I32 join_pair(F32 even, F32 odd) {
  return _mm256_or_si256(_mm256_srli_epi32(_mm256_castps_si256(even), 16), _mm256_castps_si256(odd));
}

/// Rounds to nearest even and stores as signed bytes; NaN becomes -128.
inline void store_bytes(std::int8_t* p, F32 x) {
  const I32 wide = _mm256_cvtps_epi32(x);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}

/// 8 signed bytes as floats.
inline F32 load_bytes(const std::int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

/// The largest absolute value; NaN if any lane is: as integers, NaN is above infinity.
inline F32 max_abs(F32 a, F32 b) {
  return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(abs(a)), _mm256_castps_si256(abs(b))));
}
/// The largest absolute value; NaN if any lane is.
inline float max_abs(F32 a) {
  const I32 bits = _mm256_castps_si256(abs(a));
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1))));
}

/// Sum of the 16 signed bytes at p.
inline std::int32_t sum_bytes(const std::int8_t* p) {
  const I32 words = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const I32 sums = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

}  // namespace simd
}  // namespace
}  // namespace kl::avx2
