#include <cmath>

#include "kernels/reference/ops.h"

namespace kl::reference {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double silu(double x) { return x / (1 + std::exp(-x)); }

// ln(1 + e^x) without overflow for large x.
double softplus(double x) { return std::fmax(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }

}  // namespace kl::reference
