#include "bench/limits.h"

#include <immintrin.h>

namespace kl::bench {

float read_once(const void* data, std::ptrdiff_t bytes) {
  const char* p = static_cast<const char*>(data);
  __m256i a = _mm256_setzero_si256(), b = a;
  for (std::ptrdiff_t i = 0; i + 64 <= bytes; i += 64) {
    a = _mm256_xor_si256(a, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i)));
    b = _mm256_xor_si256(b, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i + 32)));
  }
  return _mm256_cvtss_f32(_mm256_castsi256_ps(_mm256_xor_si256(a, b)));
}

// Twelve independent chains hide the latency of two FMA units.  Assembly: a compiler would fold or spill them.
#define KL_FMA(r, i) "vfmadd231ps %%" r "12, %%" r "12, %%" r #i "\n"
#define KL_FOUR_FMA(r, a, b, c, d) KL_FMA(r, a) KL_FMA(r, b) KL_FMA(r, c) KL_FMA(r, d)
#define KL_TWELVE_FMA(r) KL_FOUR_FMA(r, 0, 1, 2, 3) KL_FOUR_FMA(r, 4, 5, 6, 7) KL_FOUR_FMA(r, 8, 9, 10, 11)
#define KL_CHAINS "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11"

void multiply_in_registers(std::ptrdiff_t n) {
  for (std::ptrdiff_t i = 0; i < 8 * n; ++i) asm volatile(KL_TWELVE_FMA("ymm")::: KL_CHAINS);
}

[[gnu::target("avx512f")]] void multiply_in_wide_registers(std::ptrdiff_t n) {
  for (std::ptrdiff_t i = 0; i < 8 * n; ++i) asm volatile(KL_TWELVE_FMA("zmm")::: KL_CHAINS);
}

bool has_limits() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_wide_registers() { return __builtin_cpu_supports("avx512f"); }

}  // namespace kl::bench
