#include "kernels/reference/ops.h"

namespace kl::reference {

double element(const void* data, DType type, std::ptrdiff_t i) {
  if (type == DType::kF32) return static_cast<const float*>(data)[i];
  const std::uint16_t bits = static_cast<const std::uint16_t*>(data)[i];
  return type == DType::kBF16 ? bf16_to_f32(bits) : f16_to_f32(bits);
}

void weight_row(const WeightMatrix& w, std::ptrdiff_t n, float* dst) noexcept {
  for (std::ptrdiff_t k = 0; k < w.K; ++k) dst[k] = static_cast<float>(weight_at(w, n, k));
}

// y[m][n] = sum_k W[n][k] x[m][k]
void matmul(const MatmulArgs& a, std::ptrdiff_t n0, std::ptrdiff_t n1) noexcept {
  if (a.w.type == DType::kPacked && a.q != nullptr) return matmul_packed(a, n0, n1);
  for (std::ptrdiff_t m = 0; m < a.M; ++m) {
    for (std::ptrdiff_t n = n0; n < n1; ++n) {
      double sum = 0;
      for (std::ptrdiff_t k = 0; k < a.w.K; ++k) sum += weight_at(a.w, n, k) * a.x[m * a.x_stride + k];
      a.y[m * a.y_stride + n] = static_cast<float>(sum);
    }
  }
}

// y[m][k] = sum_n x[m][n] W[n][k]
void matmul_transposed(const MatmulArgs& a) noexcept {
  for (std::ptrdiff_t m = 0; m < a.M; ++m) {
    for (std::ptrdiff_t k = 0; k < a.w.K; ++k) {
      double sum = 0;
      for (std::ptrdiff_t n = 0; n < a.w.N; ++n) sum += weight_at(a.w, n, k) * a.x[m * a.x_stride + n];
      a.y[m * a.y_stride + k] = static_cast<float>(sum);
    }
  }
}

}  // namespace kl::reference
