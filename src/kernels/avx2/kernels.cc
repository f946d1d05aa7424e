#include "kernels/kernels.h"

#include "kernels/avx2/simd.h"

#define KL_ISA_NAMESPACE avx2
#include "kernels/generic/cpu.inl.h"
#include "kernels/generic/table.inl.h"

namespace kl::avx2 {
namespace {

/// Kernels::supported.
bool supported() noexcept { return cpu_has_avx2(); }

}  // namespace

const Kernels kernels = make_table("avx2", supported);

}  // namespace kl::avx2
