#pragma once
// The specification of every kernel: plain loops that look like the equations of kernels.h, sums and functions in
// double, rounded to f32 where a value is stored.  Slow on purpose; the other tables are right if they agree with these
// within the budgets of tests/numerics.h.
#include "kernels/kernels.h"

namespace kl::reference {

/// Element i of an array of weights or scales, exactly.
double element(const void* data, DType type, std::ptrdiff_t i);

/// W[n][k], exactly, whatever the type.
double weight_at(const WeightMatrix& w, std::ptrdiff_t n, std::ptrdiff_t k);

double sigmoid(double x);   ///< 1 / (1 + e^-x)
double silu(double x);      ///< x / (1 + e^-x)
double softplus(double x);  ///< ln(1 + e^x)

// Each is the function of the same name in kernels.h, where its equation and shapes are.
void weight_row(const WeightMatrix& w, std::ptrdiff_t n, float* dst) noexcept;
void quantize_row(const float* x, std::ptrdiff_t K, std::byte* row, std::ptrdiff_t k0, std::ptrdiff_t k1) noexcept;
void matmul(const MatmulArgs& a, std::ptrdiff_t n0, std::ptrdiff_t n1) noexcept;
void matmul_packed(const MatmulArgs& a, std::ptrdiff_t n0, std::ptrdiff_t n1) noexcept;  // in integers
void matmul_transposed(const MatmulArgs& a) noexcept;
void rms_norm(const float* x, const float* w, float eps, std::ptrdiff_t n, float* y) noexcept;
void gated_rms_norm(const float* o, const float* w, float eps, const float* gate, std::ptrdiff_t n, float* y) noexcept;
void add(const float* x, std::ptrdiff_t n, float* y) noexcept;
void silu_mul(const float* gate, const float* up, std::ptrdiff_t n, float* y) noexcept;
void short_conv(const ShortConvArgs& a, std::ptrdiff_t c0, std::ptrdiff_t c1) noexcept;
void kda_prepare(const KdaPrepareArgs& a) noexcept;
void kda_recurrence(const KdaRecurrenceArgs& a, std::ptrdiff_t s0, std::ptrdiff_t s1) noexcept;
void route(const RouteArgs& a) noexcept;
void moe_combine(const MoeCombineArgs& a) noexcept;
void store_latent(const LatentFormat& f, const float* row, std::byte* dst) noexcept;
void load_latents(const LatentFormat& f, const std::byte* rows, std::ptrdiff_t n, float* dst) noexcept;
void pack_lanes(const float* const* src, std::ptrdiff_t rows, std::ptrdiff_t n, float* dst) noexcept;
void attend(const AttendArgs& a) noexcept;
void pair_rows(const PairRowsArgs& a) noexcept;
void matmul_bf16(const MatmulBf16Args& a) noexcept;
void attend_bf16(const AttendBf16Args& a) noexcept;
void attend_merge(const AttendState& into, const AttendState& part, std::ptrdiff_t Dv) noexcept;
void attend_finish(const AttendState& s, std::ptrdiff_t Dv, float* const* dst, std::ptrdiff_t rows) noexcept;
void token_masses(const float* logits, std::ptrdiff_t n, float top, float temperature, std::uint64_t* masses) noexcept;

}  // namespace kl::reference
