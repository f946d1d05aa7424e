#include "evaluation/distribution.h"

#include <algorithm>
#include <cmath>

#include "kl/error.h"

namespace kl {

double log_sum_exp(std::span<const float> logits) {
  const float most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += double{std::exp(x - most)};
  if (!std::isfinite(most) || !std::isfinite(sum)) {
    throw Error(ErrorCode::kFailure, "logits: expected numbers, got NaN or infinity");
  }
  return double{most} + std::log(sum);
}

double divergence(const CodedRow& p, std::span<const float> logits, double log_sum) {
  double sum = 0, weighted = 0;
  for (std::size_t t = 0; t < logits.size(); ++t) {
    const float below = p.step * static_cast<float>(p.codes[t]);
    const double weight = double{std::exp(-below)};
    sum += weight;
    weighted -= weight * (double{below} + double{logits[t]});
  }
  return std::max(0.0, weighted / sum + log_sum - std::log(sum));
}

Token likeliest(std::span<const float> logits) {
  return static_cast<Token>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

double Mean::error() const {
  const auto n = static_cast<double>(n_);
  return n_ > 1 ? std::sqrt(squares_ / n / (n - 1)) : 0;
}

double quantile(std::vector<float>& values, double at) {
  std::sort(values.begin(), values.end());
  const double place = at * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const double part = place - static_cast<double>(below);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return (1 - part) * double{values[below]} + part * double{values[above]};
}

}  // namespace kl
