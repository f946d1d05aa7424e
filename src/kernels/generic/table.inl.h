#pragma once
// All kernels of generic/ as a table.
#include "kernels/generic/attend.inl.h"
#include "kernels/generic/attend_bf16.inl.h"
#include "kernels/generic/kda.inl.h"
#include "kernels/generic/latents.inl.h"
#include "kernels/generic/matmul_transposed.inl.h"
#include "kernels/generic/moe.inl.h"
#include "kernels/generic/norm.inl.h"
#include "kernels/generic/packed.inl.h"
#include "kernels/generic/short_conv.inl.h"
#include "kernels/generic/token_masses.inl.h"
#include "kernels/generic/transpose.inl.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

/// The table of this namespace.  constexpr: it is data in the object file, no code runs at start.
constexpr Kernels make_table(const char* isa, bool (*supported)() noexcept) {
  return {
      .isa = isa,
      .supported = supported,
      .weight_row = weight_row,
      .quantize_row = quantize_row,
      .matmul = matmul<false>,
      .matmul_far_ahead = matmul<true>,
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
      .matmul_bf16 = matmul_bf16<FusedPairs>,
      .attend_bf16 = attend_bf16<FusedPairs>,
      .has_bf16_dot = false,
      .attend_merge = attend_merge,
      .attend_finish = attend_finish,
      .token_masses = token_masses,
  };
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
