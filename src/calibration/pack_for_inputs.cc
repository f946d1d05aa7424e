#include "calibration/pack_for_inputs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "packing/pack.h"

namespace kl {
namespace {

constexpr int kRounds = 8;  // of improvement

/// One row on its way from weights to numbers.
class RowRounder {
 public:
  RowRounder(const InputKnowledge& inputs, const PackedFormat& f, const float* w, std::ptrdiff_t K)
      : H_(inputs.H.data()),
        f_(f),
        K_(K),
        target_(w, w + K),
        groups_(static_cast<std::size_t>((K + f.group - 1) / f.group)) {
    for (std::ptrdiff_t i = 0; !inputs.correction.empty() && i < K; ++i) {
      const float* correction = inputs.correction.data() + i * K;
      for (std::ptrdiff_t j = 0; j < K; ++j) target_[at(j)] += w[i] * correction[j];
    }
    left_ = target_;
  }

  /// Rounds the weights of the group at input k, and moves their errors to the weights after them.
  void round_group(std::ptrdiff_t k, const float* U) {
    std::array<float, kMaxGroup> importance{};
    for (std::ptrdiff_t j = k; j < end_of(k); ++j) importance[at(j - k)] = 1 / (U[j * K_ + j] * U[j * K_ + j]);
    RoundedGroup& g = own_group(k);
    g = thorough_group({left_.data() + k, end_of(k) - k, importance.data()}, f_);
    for (std::ptrdiff_t j = k; j < end_of(k); ++j) {
      const float* u = U + j * K_;
      g.q[at(j - k)] = nearest_number(left_[at(j)], f_, g);
      const float e = (left_[at(j)] - static_cast<float>(g.value(at(j - k)))) / u[j];
      for (std::ptrdiff_t i = j + 1; i < K_; ++i) left_[at(i)] -= e * u[i];
    }
  }

  /// Improves all numbers together; returns (t - rounded) H (t - rounded)^T.
  double improve() {
    pull_.assign(target_.size(), 0);
    for (std::ptrdiff_t j = 0; j < K_; ++j) move(j, -error(j));
    for (int round = 0; round < kRounds; ++round) {
      bool is_better = false;
      for (std::ptrdiff_t k = 0; k < K_; k += f_.group) {
        is_better |= refit(k);
        is_better |= renumber(k);
      }
      if (!is_better) break;
    }
    double loss = 0;
    for (std::ptrdiff_t j = 0; j < K_; ++j) loss += error(j) * pull_[at(j)];
    return loss;
  }

  const std::vector<RoundedGroup>& groups() const { return groups_; }

 private:
  static std::size_t at(std::ptrdiff_t i) { return static_cast<std::size_t>(i); }
  const RoundedGroup& group(std::ptrdiff_t k) const { return groups_[at(k / f_.group)]; }
  std::ptrdiff_t end_of(std::ptrdiff_t k) const { return std::min<std::ptrdiff_t>(k + f_.group, K_); }
  RoundedGroup& own_group(std::ptrdiff_t k) { return groups_[at(k / f_.group)]; }
  double error(std::ptrdiff_t j) const { return double{target_[at(j)]} - group(j).value(at(j % f_.group)); }

  /// Rounded weight j has grown by `by`.
  void move(std::ptrdiff_t j, double by) {
    const float* h = H_ + j * K_;
    for (std::ptrdiff_t i = 0; i < K_; ++i) pull_[at(i)] -= by * double{h[i]};
  }

  /// The best number for each weight of the group, given all others.
  bool renumber(std::ptrdiff_t k) {
    RoundedGroup& g = own_group(k);
    bool is_better = false;
    for (std::ptrdiff_t j = k; j < end_of(k); ++j) {
      int& q = g.q[at(j - k)];
      const double best = g.value(at(j - k)) + pull_[at(j)] / double{H_[j * K_ + j]};
      const int other = nearest_number(static_cast<float>(best), f_, g);
      if (g.scale == 0 || other == q) continue;
      move(j, double{g.scale} * (other - q));
      q = other;
      is_better = true;
    }
    return is_better;
  }

  /// The best scale and minimum for the numbers of the group, given all others.
  bool refit(std::ptrdiff_t k) {
    RoundedGroup& g = own_group(k);
    const double middle = f_.has_minimum ? 0 : std::ldexp(1.0, f_.bits - 1);
    const auto number = [&](std::ptrdiff_t j) { return g.q[at(j - k)] - middle; };
    // With S more scale and M more minimum the loss grows by  S^2 qHq + 2 S M qH1 + M^2 1H1 - 2 (S q + M 1) pull.
    double qHq = 0, qH1 = 0, H11 = 0, q_pull = 0, pull = 0;
    for (std::ptrdiff_t i = k; i < end_of(k); ++i) {
      double Hq = 0, H1 = 0;
      for (std::ptrdiff_t j = k; j < end_of(k); ++j) {
        Hq += double{H_[i * K_ + j]} * number(j);
        H1 += double{H_[i * K_ + j]};
      }
      qHq += number(i) * Hq, qH1 += number(i) * H1, H11 += H1;
      q_pull += number(i) * pull_[at(i)], pull += pull_[at(i)];
    }
    const double determinant = f_.has_minimum ? qHq * H11 - qH1 * qH1 : qHq;
    if (!(determinant > (f_.has_minimum ? 1e-9 * qHq * H11 : 0))) return false;
    const double S = f_.has_minimum ? (q_pull * H11 - pull * qH1) / determinant : q_pull / qHq;
    const double M = f_.has_minimum ? (pull * qHq - q_pull * qH1) / determinant : 0;
    RoundedGroup other = g;
    set_scale(static_cast<float>(g.scale + S), static_cast<float>(g.minimum + M), f_, other);
    const double s = double{other.scale} - double{g.scale};  // what the file can hold
    const double m = f_.has_minimum ? double{other.minimum} - double{g.minimum} : 0;
    if (!(s * s * qHq + 2 * s * m * qH1 + m * m * H11 < 2 * (s * q_pull + m * pull))) return false;
    for (std::ptrdiff_t j = k; j < end_of(k); ++j) move(j, s * number(j) + m);
    g = other;
    return true;
  }

  const float* H_;
  const PackedFormat& f_;
  std::ptrdiff_t K_;
  std::vector<float> target_, left_;  // t, and what is left of it to round
  std::vector<RoundedGroup> groups_;
  std::vector<double> pull_;  // H (t - rounded)^T
};

}  // namespace

double pack_block_for(const InputKnowledge& inputs, const float* w, std::ptrdiff_t rows, std::ptrdiff_t K,
                      const PackedFormat& f, std::byte* block) {
  std::memset(block, 0, static_cast<std::size_t>(f.block_bytes(K)));
  std::vector<RowRounder> rounders;
  for (std::ptrdiff_t r = 0; r < rows; ++r) rounders.emplace_back(inputs, f, w + r * K, K);
  for (std::ptrdiff_t k = 0; k < K; k += f.group)
    for (RowRounder& row : rounders) row.round_group(k, inputs.U.data());
  double loss = 0;
  for (std::ptrdiff_t r = 0; r < rows; ++r) {
    RowRounder& row = rounders[static_cast<std::size_t>(r)];
    loss += row.improve();
    put_groups(row.groups(), K, f, r, block);
  }
  return loss;
}

}  // namespace kl
