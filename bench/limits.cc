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

void multiply_in_registers(std::ptrdiff_t n) {
  // Twelve independent chains hide the latency of two FMA units.  Assembly: a compiler would fold or spill them.
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    for (int j = 0; j < 8; ++j) {
      asm volatile(
          "vfmadd231ps %%ymm12, %%ymm12, %%ymm0\n vfmadd231ps %%ymm12, %%ymm12, %%ymm1\n"
          "vfmadd231ps %%ymm12, %%ymm12, %%ymm2\n vfmadd231ps %%ymm12, %%ymm12, %%ymm3\n"
          "vfmadd231ps %%ymm12, %%ymm12, %%ymm4\n vfmadd231ps %%ymm12, %%ymm12, %%ymm5\n"
          "vfmadd231ps %%ymm12, %%ymm12, %%ymm6\n vfmadd231ps %%ymm12, %%ymm12, %%ymm7\n"
          "vfmadd231ps %%ymm12, %%ymm12, %%ymm8\n vfmadd231ps %%ymm12, %%ymm12, %%ymm9\n"
          "vfmadd231ps %%ymm12, %%ymm12, %%ymm10\n vfmadd231ps %%ymm12, %%ymm12, %%ymm11\n" ::
              : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11");
    }
  }
}

bool has_limits() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

}  // namespace kl::bench
