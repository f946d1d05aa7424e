#pragma once
// Arithmetic on distributions over the vocabulary.
#include <cstdint>
#include <span>
#include <vector>

#include "evaluation/saved_probabilities.h"
#include "kl/tokenizer.h"

namespace kl {

/// log sum exp(logits): what is subtracted from a logit to make it a log-probability.
/// Numerics  exponentials in f32, their sum in double, ascending.
/// Errors    Error(kFailure) if a logit is no number or infinite upwards.
double log_sum_exp(std::span<const float> logits);

/// Kullback-Leibler divergence of q from the saved p, nats; at least 0.
///
///     sum p (log p - log q),   log q = logits - log_sum
///
/// Shapes    logits: [vocabulary].
double divergence(const CodedRow& p, std::span<const float> logits, double log_sum);

/// The likeliest token; the first of several.
Token likeliest(std::span<const float> logits);

/// A mean and its standard error, fed value by value.
class Mean {
 public:
  void add(double x) {
    ++n_;
    const double d = x - mean_;
    mean_ += d / static_cast<double>(n_);
    squares_ += d * (x - mean_);
  }
  std::int64_t count() const { return n_; }
  double mean() const { return mean_; }
  double error() const;  ///< standard deviation / sqrt(n - 1), as llama-perplexity has it; 0 for one value

 private:
  std::int64_t n_ = 0;
  double mean_ = 0, squares_ = 0;
};

/// Value at share `at` of the sorted values, linear between neighbours.  Sorts.
double quantile(std::vector<float>& values, double at);

}  // namespace kl
