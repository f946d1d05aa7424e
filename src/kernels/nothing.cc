#include "kernels/kernels.h"

namespace kl::nothing {
namespace {

/// Tokens lie one after the other in memory, so their addresses choose neighbouring experts: as many experts as a real
/// router would choose for a batch.
void route(const RouteArgs& a) noexcept {
  const auto token = static_cast<std::ptrdiff_t>(reinterpret_cast<std::uintptr_t>(a.ids) / sizeof(std::int32_t)) / a.A;
  const std::ptrdiff_t first = token % (a.E / a.A) * a.A;
  for (std::ptrdiff_t i = 0; i < a.A; ++i) {
    a.ids[i] = static_cast<std::int32_t>(first + i);
    a.weights[i] = 0;
  }
}

}  // namespace

const Kernels kernels = {
    .isa = "nothing",
    .supported = []() noexcept { return true; },
    .weight_row = [](const WeightMatrix&, std::ptrdiff_t, float*) noexcept {},
    .quantize_row = [](const float*, std::ptrdiff_t, std::byte*, std::ptrdiff_t, std::ptrdiff_t) noexcept {},
    .matmul = [](const MatmulArgs&, std::ptrdiff_t, std::ptrdiff_t) noexcept {},
    .matmul_transposed = [](const MatmulArgs&) noexcept {},
    .rms_norm = [](const float*, const float*, float, std::ptrdiff_t, float*) noexcept {},
    .add = [](const float*, std::ptrdiff_t, float*) noexcept {},
    .silu_mul = [](const float*, const float*, std::ptrdiff_t, float*) noexcept {},
    .short_conv = [](const ShortConvArgs&, std::ptrdiff_t, std::ptrdiff_t) noexcept {},
    .kda_prepare = [](const KdaPrepareArgs&) noexcept {},
    .kda_recurrence = [](const KdaRecurrenceArgs&, std::ptrdiff_t, std::ptrdiff_t) noexcept {},
    .gated_rms_norm = [](const float*, const float*, float, const float*, std::ptrdiff_t, float*) noexcept {},
    .route = route,
    .moe_combine = [](const MoeCombineArgs&) noexcept {},
    .store_latent = [](const LatentFormat&, const float*, std::byte*) noexcept {},
    .load_latents = [](const LatentFormat&, const std::byte*, std::ptrdiff_t, float*) noexcept {},
    .pack_lanes = [](const float* const*, std::ptrdiff_t, std::ptrdiff_t, float*) noexcept {},
    .attend = [](const AttendArgs&) noexcept {},
    .pair_rows = [](const PairRowsArgs&) noexcept {},
    .matmul_bf16 = [](const MatmulBf16Args&) noexcept {},
    .attend_bf16 = [](const AttendBf16Args&) noexcept {},
    .has_bf16_dot = false,
    .attend_merge = [](const AttendState&, const AttendState&, std::ptrdiff_t) noexcept {},
    .attend_finish = [](const AttendState&, std::ptrdiff_t, float* const*, std::ptrdiff_t) noexcept {},
    .token_masses = [](const float*, std::ptrdiff_t, float, float, std::uint64_t*) noexcept {},
};

}  // namespace kl::nothing
