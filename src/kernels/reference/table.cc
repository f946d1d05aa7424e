#include "kernels/reference/ops.h"

namespace kl::reference {
namespace {

bool supported() noexcept { return true; }

}  // namespace

const Kernels kernels{
    .isa = "reference",
    .supported = supported,
    .weight_row = weight_row,
    .quantize_row = quantize_row,
    .matmul = matmul,
    .matmul_transposed = matmul_transposed,
    .rms_norm = rms_norm,
    .add = add,
    .silu_mul = silu_mul,
    .short_conv = short_conv,
    .kda_prepare = kda_prepare,
    .kda_recurrence = kda_recurrence,
    .gated_rms_norm = gated_rms_norm,
    .route = route,
    .moe_combine = moe_combine,
    .store_latent = store_latent,
    .load_latents = load_latents,
    .pack_lanes = pack_lanes,
    .attend = attend,
    .attend_merge = attend_merge,
    .attend_finish = attend_finish,
};

}  // namespace kl::reference
