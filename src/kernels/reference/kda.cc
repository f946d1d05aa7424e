// KDA for one head.  The textbook recurrence and its chunked form, on q, k, v, g and beta themselves, are in
// kda_chunked.h; the functions here have the signatures of the kernel table, where a token's gates and norms are
// computed once (the record) and shared by all slices of the state.
#include <cmath>

#include "kernels/reference/ops.h"

namespace kl::reference {
namespace {

/// 1 / sqrt(sum x^2 + eps)
double inverse_l2(const float* x, float eps, std::ptrdiff_t n) {
  double squares = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i) squares += double{x[i]} * x[i];
  return 1 / std::sqrt(squares + double{eps});
}

}  // namespace

// q <- K^-1/2 q / sqrt(sum q^2 + eps)      k <- k / sqrt(sum k^2 + eps)
// g = -exp(A_log) softplus(f + dt_bias)    alpha = exp(g)     beta = sigmoid(b)
void kda_prepare(const KdaPrepareArgs& a) noexcept {
  const std::ptrdiff_t K = a.K;
  for (std::ptrdiff_t t = 0; t < a.T; ++t) {
    const float *q_t = a.q + t * a.stride, *k_t = a.k + t * a.stride, *f_t = a.f + t * a.f_stride;
    float* r = a.records + t * KdaRecord::floats(K);
    const double q_scale = inverse_l2(q_t, a.l2_eps, K) / std::sqrt(static_cast<double>(K));
    const double k_scale = inverse_l2(k_t, a.l2_eps, K);
    double qk = 0;
    for (std::ptrdiff_t i = 0; i < K; ++i) {
      const double q = q_scale * q_t[i], k = k_scale * k_t[i];
      const double g = -std::exp(double{a.A_log}) * softplus(double{f_t[i]} + a.dt_bias[i]);
      const double alpha = std::exp(g);
      r[KdaRecord::kAlpha * K + i] = static_cast<float>(alpha);
      r[KdaRecord::kK * K + i] = static_cast<float>(k);
      r[KdaRecord::kKAlpha * K + i] = static_cast<float>(k * alpha);
      r[KdaRecord::kQAlpha * K + i] = static_cast<float>(q * alpha);
      qk += q * k;
    }
    for (std::ptrdiff_t i = KdaRecord::qk(K); i < KdaRecord::floats(K); ++i) r[i] = 0;
    r[KdaRecord::qk(K)] = static_cast<float>(qk);
    r[KdaRecord::beta(K)] = static_cast<float>(sigmoid(a.b[t * a.b_stride]));
  }
}

// S <- diag(alpha) S;   u <- beta (v - S^T k);   S <- S + k u^T;   o <- S^T q        column j of S by column
//
// A record holds q * alpha and q.k but not q, so the last step reads the state as it was on entry:
//
//     o = S_new^T q = (diag(alpha) S + k u^T)^T q = S^T (alpha * q) + (q.k) u
void kda_recurrence(const KdaRecurrenceArgs& a, std::ptrdiff_t s0, std::ptrdiff_t s1) noexcept {
  const std::ptrdiff_t K = a.K;
  for (std::ptrdiff_t t = 0; t < a.T; ++t) {
    const float* r = a.records + t * KdaRecord::floats(K);
    const float *alpha = r + KdaRecord::kAlpha * K, *k = r + KdaRecord::kK * K, *q_alpha = r + KdaRecord::kQAlpha * K;
    const double qk = r[KdaRecord::qk(K)], beta = r[KdaRecord::beta(K)];
    const std::ptrdiff_t end = s1 * kKdaSlice < a.V ? s1 * kKdaSlice : a.V;
    for (std::ptrdiff_t j = s0 * kKdaSlice; j < end; ++j) {
      const std::ptrdiff_t S_j = j / kKdaSlice * K * kKdaSlice + j % kKdaSlice;  // column j, elements kKdaSlice apart
      double p = 0, read = 0;
      for (std::ptrdiff_t i = 0; i < K; ++i) {
        const double S_ij = element(a.S, a.S_type, S_j + i * kKdaSlice);
        p += k[i] * (alpha[i] * S_ij);
        read += q_alpha[i] * S_ij;
      }
      const double u = beta * (a.v[t * a.v_stride + j] - p);
      for (std::ptrdiff_t i = 0; i < K; ++i) {
        const std::ptrdiff_t at = S_j + i * kKdaSlice;
        const auto S_ij = static_cast<float>(double{alpha[i]} * element(a.S, a.S_type, at) + k[i] * u);
        if (a.S_type == DType::kF32) {
          static_cast<float*>(a.S)[at] = S_ij;
        } else {
          static_cast<std::uint16_t*>(a.S)[at] = f32_to_bf16(S_ij);
        }
      }
      a.o[t * a.o_stride + j] = static_cast<float>(read + qk * u);
    }
  }
}

}  // namespace kl::reference
