#include "calibration/input_moments.h"

#include <cmath>

namespace kl {

InputMoments* InputMoments::at_work_ = nullptr;

InputMoments::InputMoments(const Kernels& kernels) : kernels_(kernels), table_(kernels) {
  table_.matmul = record_and_multiply;
  at_work_ = this;
}

InputMoments::~InputMoments() { at_work_ = nullptr; }

void InputMoments::watch(const WeightMatrix& w) {
  moments_[w.data] = {w.K, std::vector<double>(static_cast<std::size_t>(w.K * w.K))};
}

void InputMoments::record_and_multiply(const MatmulArgs& a, std::ptrdiff_t n0, std::ptrdiff_t n1) noexcept {
  if (n0 == 0) at_work_->add(a);
  at_work_->kernels_.matmul(a, n0, n1);
}

void InputMoments::add(const MatmulArgs& a) noexcept {
  const auto it = moments_.find(a.w.data);
  if (it == moments_.end()) return;
  const std::ptrdiff_t K = it->second.K;
  for (std::ptrdiff_t m = 0; m < a.M; ++m) {
    const float* x = a.x + m * a.x_stride;
    double* row = it->second.sum.data();
    for (std::ptrdiff_t i = 0; i < K; ++i, row += K) {
      const double x_i = double{x[i]};
      if (x_i == 0) continue;
      for (std::ptrdiff_t j = i; j < K; ++j) row[j] += x_i * double{x[j]};
    }
  }
}

std::vector<float> InputMoments::inverse_factor(const WeightMatrix& w) const {
  const Moment& moment = moments_.at(w.data);
  const auto K = static_cast<std::size_t>(moment.K);
  constexpr double kDamping = 0.01;
  double mean = 0;
  for (std::size_t i = 0; i < K; ++i) mean += moment.sum[i * K + i] / static_cast<double>(K);
  // R R^T = the moments, R upper: from the last row up.
  std::vector<double> R(moment.sum);
  for (std::size_t i = 0; i < K; ++i) R[i * K + i] += mean > 0 ? kDamping * mean : 1;
  for (std::size_t j = K; j-- > 0;) {
    const double* row_j = R.data() + j * K;
    for (std::size_t i = j + 1; i-- > 0;) {
      double* row_i = R.data() + i * K;
      double left = row_i[j];
      for (std::size_t k = j + 1; k < K; ++k) left -= row_i[k] * row_j[k];
      row_i[j] = i == j ? std::sqrt(left) : left / row_j[j];
    }
  }
  // U = R^-1, built as its transpose: row j holds column j.
  std::vector<double> column(K);
  std::vector<float> U(K * K);
  for (std::size_t j = 0; j < K; ++j) {
    column[j] = 1 / R[j * K + j];
    for (std::size_t i = j; i-- > 0;) {
      double sum = 0;
      for (std::size_t k = i + 1; k <= j; ++k) sum += R[i * K + k] * column[k];
      column[i] = -sum / R[i * K + i];
    }
    for (std::size_t i = 0; i <= j; ++i) U[i * K + j] = static_cast<float>(column[i]);
  }
  return U;
}

}  // namespace kl
