#pragma once
// What the CPU can do.  __builtin_cpu_supports also asks whether the operating system saves the wide registers.
#include <cpuid.h>

namespace kl::KL_ISA_NAMESPACE {
namespace {

/// AVX2, FMA and F16C.  (Clang 14 does not know the name "f16c", so CPUID is asked.)
inline bool cpu_has_avx2() noexcept {
  __builtin_cpu_init();
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __get_cpuid(1, &eax, &ebx, &ecx, &edx) &&
         (ecx & bit_F16C) != 0;
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
