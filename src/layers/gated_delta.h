#pragma once
#include "kernels/kernels.h"

namespace kl {

/// Tokens prepared at a time: 64 records of K = 128 are 132 KiB and stay in a core's L2 cache between the two kernels.
inline constexpr std::ptrdiff_t kGatedDeltaBlock = 64;

/// Floats of scratch gated_delta_update needs.
constexpr std::ptrdiff_t gated_delta_scratch(std::ptrdiff_t K) { return kGatedDeltaBlock * KdaRecord::floats(K); }

/// At most kGatedDeltaBlock tokens of one head, and the state they advance.
struct GatedDeltaArgs {
  const float *q, *k, *v;  // [T, K], [T, K], [T, V] after convolution and SiLU
  const float* f;          // [T, K] forget-gate logits W_fb W_fa x, f_stride apart
  std::ptrdiff_t f_stride;
  const float* b;  // [T] write-strength logits, b_stride apart
  std::ptrdiff_t b_stride;
  float A_log;           // of this head
  const float* dt_bias;  // [K]
  float l2_eps;
  std::ptrdiff_t K, V, T;
  void* S;  // [ceil(V/32), K, 32] of S_type, updated
  DType S_type;
  float* o;  // [T, V] what each token reads
};

/// gated_delta_update: the heart of KDA, a block of tokens of one head.
///
///     S <- diag(alpha) S;   u = beta (v - S^T k);   S <- S + k u^T;   o = S^T q
///
/// This is the recurrent form: only alpha = exp(g) <= 1 is ever formed, so no decay is too strong for it.  (The chunked
/// form, src/kernels/reference/kda_chunked.h, trades rank-one updates for matrix products; without a matrix unit it
/// gains next to nothing, see docs/kda.md.)
///
/// Shapes    q, k, f: [T, K]   v, o: [T, V]   b: [T]   S: [ceil(V/32), K, 32]   scratch: gated_delta_scratch(K) floats.
/// Units     f, b are logits: alpha = exp(-exp(A_log) softplus(f + dt_bias)), beta = sigmoid(b).
/// Numerics  any split of a sequence into blocks gives the same bits.
/// Source    tech report (KDA); fla/ops/kda/naive.py naive_recurrent_kda.
inline void gated_delta_update(const Kernels& kernels, const GatedDeltaArgs& a, float* scratch) noexcept {
  kernels.kda_prepare({.q = a.q,
                       .k = a.k,
                       .stride = a.K,
                       .f = a.f,
                       .f_stride = a.f_stride,
                       .b = a.b,
                       .b_stride = a.b_stride,
                       .dt_bias = a.dt_bias,
                       .A_log = a.A_log,
                       .l2_eps = a.l2_eps,
                       .K = a.K,
                       .T = a.T,
                       .records = scratch});
  kernels.kda_recurrence({.records = scratch,
                          .v = a.v,
                          .v_stride = a.V,
                          .o = a.o,
                          .o_stride = a.V,
                          .S = a.S,
                          .K = a.K,
                          .V = a.V,
                          .T = a.T,
                          .S_type = a.S_type},
                         0, (a.V + kKdaSlice - 1) / kKdaSlice);
}

}  // namespace kl
