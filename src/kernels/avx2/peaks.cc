#include "kernels/peaks.h"

#include <immintrin.h>

#define KL_ISA_NAMESPACE avx2
#include "kernels/generic/cpu.inl.h"
#include "kernels/generic/peaks.inl.h"

namespace kl::avx2 {
namespace {

constexpr double kChains = 12;

/// VEX-encoded vpdpbusd.
bool has_avx_vnni() noexcept {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return cpu_has_avx2() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4 & 1) != 0;
}

// A product of bytes without VNNI takes three instructions, so six chains.
#define KL_MADD(product, sum)                           \
  "vpmaddubsw %%ymm12, %%ymm12, %%ymm" #product         \
  "\n"                                                  \
  "vpmaddwd %%ymm12, %%ymm" #product ", %%ymm" #product \
  "\n"                                                  \
  "vpaddd %%ymm" #product ", %%ymm" #sum ", %%ymm" #sum "\n"

KL_PEAK_LOOP(multiply_floats, KL_TWELVE_CHAINS("vfmadd231ps", "ymm"))
KL_PEAK_LOOP(multiply_bytes, KL_MADD(0, 6) KL_MADD(1, 7) KL_MADD(2, 8) KL_MADD(3, 9) KL_MADD(4, 10) KL_MADD(5, 11))
__attribute__((target("avxvnni"))) KL_PEAK_LOOP(multiply_bytes_vnni, KL_TWELVE_CHAINS("%{vex%} vpdpbusd", "ymm"))

}  // namespace

const PeakLoop peaks[3] = {
    {"avx2", "vfmadd231ps, 256 bit", Arithmetic::kFma, cpu_has_avx2, kChains * 8 * 2, multiply_floats},
    {"avx2", "vpmaddubsw + vpmaddwd, 256 bit", Arithmetic::kInt8, cpu_has_avx2, 6 * 32 * 2, multiply_bytes},
    {"avx2", "vpdpbusd, 256 bit", Arithmetic::kInt8, has_avx_vnni, kChains * 32 * 2, multiply_bytes_vnni},
};

std::uint64_t read_once(const void* data, std::ptrdiff_t bytes) noexcept {
  const auto* p = static_cast<const __m256i*>(data);
  __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
  for (const __m256i* const end = p + bytes / 32; p != end; p += 4) {
    a = _mm256_xor_si256(a, p[0]);
    b = _mm256_xor_si256(b, p[1]);
    c = _mm256_xor_si256(c, p[2]);
    d = _mm256_xor_si256(d, p[3]);
  }
  a = _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d));
  const __m128i half = _mm_xor_si128(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  return static_cast<std::uint64_t>(_mm_cvtsi128_si64(half) ^ _mm_extract_epi64(half, 1));
}

}  // namespace kl::avx2
