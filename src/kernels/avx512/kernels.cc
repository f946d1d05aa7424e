#include "kernels/kernels.h"

#include "kernels/avx512/simd.h"

#define KL_ISA_NAMESPACE avx512
#include "kernels/generic/cpu.inl.h"
#include "kernels/generic/table.inl.h"

namespace kl::avx512 {
namespace {

/// Kernels::supported of "avx512".
bool supported() noexcept {
  return cpu_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

/// Kernels::supported of "avx512bf16".
bool supported_bf16() noexcept { return supported() && __builtin_cpu_supports("avx512bf16"); }

/// "avx512" with the instruction for pairs of bf16.
constexpr Kernels make_bf16_table() {
  Kernels table = make_table("avx512bf16", supported_bf16);
  table.matmul_bf16 = matmul_bf16<DotTile<DotPairs>>;
  table.attend_bf16 = attend_bf16<DotTile<DotPairs>>;
  table.has_bf16_dot = true;
  return table;
}

}  // namespace

const Kernels kernels = make_table("avx512", supported);
const Kernels kernels_bf16 = make_bf16_table();

}  // namespace kl::avx512
