#include "kernels/kernels.h"

#include "kernels/avx512/simd.h"

#define KL_ISA_NAMESPACE avx512
#include "kernels/generic/cpu.inl.h"
#include "kernels/generic/table.inl.h"

namespace kl::avx512 {
namespace {

bool supported() noexcept {
  return cpu_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

}  // namespace

const Kernels kernels = make_table("avx512", supported);

}  // namespace kl::avx512
