#include "kernels/reference/ops.h"

namespace kl::reference {
namespace {

/// Kernels::supported.
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
    .pair_rows = pair_rows,
    .matmul_bf16 = matmul_bf16,
    .attend_bf16 = attend_bf16,
    .has_bf16_dot = false,
    .attend_merge = attend_merge,
    .attend_finish = attend_finish,
    .token_masses = token_masses,
};

}  // namespace kl::reference
