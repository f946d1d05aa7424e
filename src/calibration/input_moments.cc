#include "calibration/input_moments.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

namespace kl {

void InputRecorder::watch(const WeightMatrix& w, std::ptrdiff_t most) {
  Kept& kept = kept_[w.data];
  kept.most = static_cast<std::size_t>(most * w.K);
  kept.rows.reserve(kept.most);
}

std::vector<float> InputRecorder::take(const WeightMatrix& w) {
  Kept& kept = kept_.at(w.data);
  std::vector<float> rows;
  rows.reserve(kept.most);
  rows.swap(kept.rows);
  return rows;
}

void InputRecorder::on_product(const MatmulArgs& a) noexcept {
  const auto it = kept_.find(a.w.data);
  if (it == kept_.end()) return;
  auto& [rows, most] = it->second;
  for (std::ptrdiff_t m = 0; m < a.M && rows.size() < most; ++m)  // so that nothing is allocated here
    rows.insert(rows.end(), a.x + m * a.x_stride, a.x + m * a.x_stride + a.w.K);
}

void Moments::add(std::span<const float> rows, std::span<const float> meant, ThreadPool& pool) {
  const auto N = static_cast<std::size_t>(K);
  if (!meant.empty()) drift.resize(N * N);
  pool.parallel_for(K, [&](std::ptrdiff_t row, int) {
    const auto i = static_cast<std::size_t>(row);
    for (std::size_t at = 0; at < rows.size(); at += N) {
      const float* x = rows.data() + at;
      const double x_i = double{x[i]};
      for (std::size_t j = i; j < N; ++j) sum[i * N + j] += x_i * double{x[j]};
      if (meant.empty()) continue;
      const double shift = double{meant[at + i]} - x_i;
      for (std::size_t j = 0; j < N; ++j) drift[i * N + j] += shift * double{x[j]};
    }
  });
}

namespace {

/// Upper U [N, N] with U^T U = M^-1, of the upper half of M.
std::vector<float> inverse_factor(std::vector<double> M, std::size_t N) {
  // R R^T = M, R upper: from the last row up, in place.
  std::vector<double>& R = M;
  for (std::size_t j = N; j-- > 0;) {
    const double* row_j = R.data() + j * N;
    for (std::size_t i = j + 1; i-- > 0;) {
      double* row_i = R.data() + i * N;
      double left = row_i[j];
      for (std::size_t k = j + 1; k < N; ++k) left -= row_i[k] * row_j[k];
      row_i[j] = i == j ? std::sqrt(left) : left / row_j[j];
    }
  }
  // U = R^-1, a column after the other.
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

/// drift U^T U, row by row.
std::vector<float> correction_of(const std::vector<double>& drift, const std::vector<float>& U, std::size_t N,
                                 ThreadPool& pool) {
  std::vector<float> correction(N * N);
  pool.parallel_for(static_cast<std::ptrdiff_t>(N), [&](std::ptrdiff_t row, int) {
    const std::size_t i = static_cast<std::size_t>(row) * N;
    std::vector<double> by_U(N), sum(N);
    for (std::size_t k = 0; k < N; ++k)
      for (std::size_t j = k; j < N; ++j) by_U[k] += drift[i + j] * double{U[k * N + j]};
    for (std::size_t k = 0; k < N; ++k)
      for (std::size_t j = k; j < N; ++j) sum[j] += by_U[k] * double{U[k * N + j]};
    for (std::size_t j = 0; j < N; ++j) correction[i + j] = static_cast<float>(sum[j]);
  });
  return correction;
}

}  // namespace

InputKnowledge Moments::knowledge(double damping, ThreadPool& pool) const {
  const auto N = static_cast<std::size_t>(K);
  double mean = 0;
  for (std::size_t i = 0; i < N; ++i) mean += sum[i * N + i] / static_cast<double>(K);
  std::vector<double> damped(sum);
  for (std::size_t i = 0; i < N; ++i) damped[i * N + i] += mean > 0 ? damping * mean : 1;
  InputKnowledge known;
  known.H.resize(N * N);
  for (std::size_t i = 0; i < N; ++i) {
    for (std::size_t j = i; j < N; ++j) known.H[i * N + j] = known.H[j * N + i] = static_cast<float>(damped[i * N + j]);
  }
  known.U = inverse_factor(std::move(damped), N);
  if (!drift.empty()) known.correction = correction_of(drift, known.U, N, pool);
  return known;
}

Moments moments_of_readers(const ModelWeights& weights, const Kernels& kernels, ThreadPool& pool) {
  const std::ptrdiff_t D = weights.embed_tokens.K;
  Moments moments(D);
  constexpr std::ptrdiff_t kRows = 2048;  // widened at a time: a head has 163,840
  std::vector<float> rows;
  const auto add = [&](const float* norm, std::initializer_list<const WeightMatrix*> readers) {
    for (const WeightMatrix* w : readers) {
      for (std::ptrdiff_t n0 = 0; n0 < w->N; n0 += kRows) {
        const std::ptrdiff_t count = std::min(kRows, w->N - n0);
        rows.resize(static_cast<std::size_t>(count * D));
        for (std::ptrdiff_t n = 0; n < count; ++n) {
          float* row = rows.data() + n * D;
          kernels.weight_row(*w, n0 + n, row);
          for (std::ptrdiff_t i = 0; i < D; ++i) row[i] *= norm[i];
        }
        moments.add(rows, {}, pool);
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
