#include <cmath>

#include "kernels/reference/ops.h"

namespace kl::reference {
namespace {

/// 1 / sqrt(mean(x^2) + eps)
double inverse_rms(const float* x, float eps, std::ptrdiff_t n) {
  double squares = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i) squares += double{x[i]} * x[i];
  return 1 / std::sqrt(squares / static_cast<double>(n) + double{eps});
}

}  // namespace

// y = w x / sqrt(mean(x^2) + eps)
void rms_norm(const float* x, const float* w, float eps, std::ptrdiff_t n, float* y) noexcept {
  const double r = inverse_rms(x, eps, n);
  for (std::ptrdiff_t i = 0; i < n; ++i) y[i] = static_cast<float>(w[i] * (x[i] * r));
}

// y = w o / sqrt(mean(o^2) + eps) * sigmoid(gate)
void gated_rms_norm(const float* o, const float* w, float eps, const float* gate, std::ptrdiff_t n, float* y) noexcept {
  const double r = inverse_rms(o, eps, n);
  for (std::ptrdiff_t i = 0; i < n; ++i) y[i] = static_cast<float>(w[i] * (o[i] * r) * sigmoid(gate[i]));
}

void add(const float* x, std::ptrdiff_t n, float* y) noexcept {
  for (std::ptrdiff_t i = 0; i < n; ++i) y[i] += x[i];
}

// y = silu(gate) * up
void silu_mul(const float* gate, const float* up, std::ptrdiff_t n, float* y) noexcept {
  for (std::ptrdiff_t i = 0; i < n; ++i) y[i] = static_cast<float>(silu(gate[i]) * up[i]);
}

}  // namespace kl::reference
