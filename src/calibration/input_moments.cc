#include "calibration/input_moments.h"

#include <cmath>
#include <initializer_list>

namespace kl {

InputMoments* InputMoments::at_work_ = nullptr;

InputMoments::InputMoments(const Kernels& kernels) : kernels_(kernels), table_(kernels) {
  table_.matmul = record_and_multiply;
  at_work_ = this;
}

InputMoments::~InputMoments() { at_work_ = nullptr; }

void InputMoments::watch(const WeightMatrix& w) { moments_.insert_or_assign(w.data, Moments(w.K)); }

void InputMoments::record_and_multiply(const MatmulArgs& a, std::ptrdiff_t n0, std::ptrdiff_t n1) noexcept {
  if (n0 == 0) at_work_->add(a);
  at_work_->kernels_.matmul(a, n0, n1);
}

void InputMoments::add(const MatmulArgs& a) noexcept {
  const auto it = moments_.find(a.w.data);
  if (it == moments_.end()) return;
  for (std::ptrdiff_t m = 0; m < a.M; ++m) it->second.add(a.x + m * a.x_stride);
}

void Moments::add(const float* x) noexcept {
  double* row = sum.data();
  for (std::ptrdiff_t i = 0; i < K; ++i, row += K) {
    const double x_i = double{x[i]};
    if (x_i == 0) continue;
    for (std::ptrdiff_t j = i; j < K; ++j) row[j] += x_i * double{x[j]};
  }
}

std::vector<float> Moments::inverse_factor(double damping) const {
  const auto N = static_cast<std::size_t>(K);
  double mean = 0;
  for (std::size_t i = 0; i < N; ++i) mean += sum[i * N + i] / static_cast<double>(K);
  // R R^T = the moments, R upper: from the last row up.
  std::vector<double> R(sum);
  for (std::size_t i = 0; i < N; ++i) R[i * N + i] += mean > 0 ? damping * mean : 1;
  for (std::size_t j = N; j-- > 0;) {
    const double* row_j = R.data() + j * N;
    for (std::size_t i = j + 1; i-- > 0;) {
      double* row_i = R.data() + i * N;
      double left = row_i[j];
      for (std::size_t k = j + 1; k < N; ++k) left -= row_i[k] * row_j[k];
      row_i[j] = i == j ? std::sqrt(left) : left / row_j[j];
    }
  }
  // U = R^-1, built as its transpose: row j holds column j.
  std::vector<double> column(N);
  std::vector<float> U(N * N);
  for (std::size_t j = 0; j < N; ++j) {
    column[j] = 1 / R[j * N + j];
    for (std::size_t i = j; i-- > 0;) {
      double product = 0;
      for (std::size_t k = i + 1; k <= j; ++k) product += R[i * N + k] * column[k];
      column[i] = -product / R[i * N + i];
    }
    for (std::size_t i = 0; i <= j; ++i) U[i * N + j] = static_cast<float>(column[i]);
  }
  return U;
}

Moments moments_of_readers(const ModelWeights& weights, const Kernels& kernels) {
  const std::ptrdiff_t D = weights.embed_tokens.K;
  Moments moments(D);
  std::vector<float> row(static_cast<std::size_t>(D));
  const auto add = [&](const float* norm, std::initializer_list<const WeightMatrix*> readers) {
    for (const WeightMatrix* w : readers) {
      for (std::ptrdiff_t n = 0; n < w->N; ++n) {
        kernels.weight_row(*w, n, row.data());
        for (std::ptrdiff_t i = 0; i < D; ++i) row[static_cast<std::size_t>(i)] *= norm[i];
        moments.add(row.data());
      }
    }
  };
  for (const LayerWeights& layer : weights.layers) {
    if (const auto* k = std::get_if<KdaWeights>(&layer.attention)) {
      add(layer.input_norm, {&k->q_proj, &k->k_proj, &k->v_proj, &k->f_a_proj, &k->g_a_proj, &k->b_proj});
    } else if (const auto* m = std::get_if<MlaWeights>(&layer.attention)) {
      add(layer.input_norm, {&m->q_proj, &m->kv_a_proj});
    }
    const auto* mlp = std::get_if<MlpWeights>(&layer.feed_forward);
    const auto* moe = std::get_if<MoeWeights>(&layer.feed_forward);
    if (moe != nullptr) add(layer.post_attention_norm, {&moe->router});
    if (moe != nullptr && moe->shared) mlp = &*moe->shared;
    if (mlp != nullptr) add(layer.post_attention_norm, {&mlp->gate_proj, &mlp->up_proj});
  }
  add(weights.norm, {&weights.lm_head});
  return moments;
}

}  // namespace kl
