#include "kernels/peaks.h"

#include <immintrin.h>

#include "kernels/generic/peaks.inl.h"

namespace kl::avx512 {
namespace {

constexpr double kChains = 12;

/// PeakLoop::supported of each loop.
bool has_avx512() noexcept { return __builtin_cpu_supports("avx512f"); }
bool has_vnni() noexcept { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }
bool has_bf16() noexcept { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }

KL_PEAK_LOOP(multiply_floats, KL_TWELVE_CHAINS("vfmadd231ps", "zmm"))
__attribute__((target("avx512vnni"))) KL_PEAK_LOOP(multiply_bytes, KL_TWELVE_CHAINS("vpdpbusd", "zmm"))
    __attribute__((target("avx512bf16"))) KL_PEAK_LOOP(multiply_bf16, KL_TWELVE_CHAINS("vdpbf16ps", "zmm"))

}  // namespace

const PeakLoop peaks[3] = {
    {"avx512", "vfmadd231ps, 512 bit", Arithmetic::kFma, has_avx512, kChains * 16 * 2, multiply_floats},
    {"avx512", "vpdpbusd, 512 bit", Arithmetic::kInt8, has_vnni, kChains * 64 * 2, multiply_bytes},
    {"avx512", "vdpbf16ps, 512 bit", Arithmetic::kBf16Dot, has_bf16, kChains * 32 * 2, multiply_bf16},
};

std::uint64_t read_once(const void* data, std::ptrdiff_t bytes) noexcept {
  const auto* p = static_cast<const __m512i*>(data);
  __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
  for (const __m512i* const end = p + bytes / 64; p != end; p += 4) {
    a = _mm512_xor_si512(a, p[0]);
    b = _mm512_xor_si512(b, p[1]);
    c = _mm512_xor_si512(c, p[2]);
    d = _mm512_xor_si512(d, p[3]);
  }
  a = _mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d));
  alignas(64) std::uint64_t lanes[8];
  _mm512_store_si512(lanes, a);
  return lanes[0] ^ lanes[1] ^ lanes[2] ^ lanes[3] ^ lanes[4] ^ lanes[5] ^ lanes[6] ^ lanes[7];
}

}  // namespace kl::avx512
