#include <cmath>
#include <limits>

#include "kernels/reference/ops.h"

namespace kl::reference {
namespace {

constexpr float kUnavailable = std::numeric_limits<float>::quiet_NaN();

/// Index of the largest available key, the first of equals; -1 if none is available.
std::ptrdiff_t first_largest(const float* key, std::ptrdiff_t n) {
  std::ptrdiff_t best = -1;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    if (std::isnan(key[i])) continue;
    if (best < 0 || key[i] > key[best]) best = i;
  }
  return best;
}

/// scores = softmax(logits) or sigmoid(logits).
void score(const RouteArgs& a, float* scores) {
  double peak = -INFINITY, sum = 0;
  for (std::ptrdiff_t e = 0; e < a.E; ++e) peak = std::fmax(peak, a.logits[e]);
  for (std::ptrdiff_t e = 0; e < a.E; ++e) sum += std::exp(a.logits[e] - peak);
  for (std::ptrdiff_t e = 0; e < a.E; ++e) {
    scores[e] = static_cast<float>(a.softmax ? std::exp(a.logits[e] - peak) / sum : sigmoid(a.logits[e]));
  }
}

/// Sum of the two largest keys of a group (the key itself if it is alone).
float group_score(const float* key, std::ptrdiff_t size) {
  if (size == 1) return key[0];
  float first = -INFINITY, second = -INFINITY;
  for (std::ptrdiff_t i = 0; i < size; ++i) {
    if (key[i] > first) {
      second = first;
      first = key[i];
    } else if (key[i] > second) {
      second = key[i];
    }
  }
  const float sum = first + second;
  return std::isnan(sum) ? -INFINITY : sum;
}

/// Makes all experts outside the topk_groups best groups unavailable.
void keep_best_groups(const RouteArgs& a, float* key) {
  const std::ptrdiff_t size = a.E / a.groups;
  // A group is dropped if at least topk_groups others are better; an equal one with a lower index is better.
  const auto is_kept = [&](std::ptrdiff_t g) {
    std::ptrdiff_t better = 0;
    const float mine = group_score(key + g * size, size);
    for (std::ptrdiff_t h = 0; h < a.groups; ++h) {
      const float other = group_score(key + h * size, size);
      better += other > mine || (other == mine && h < g);
    }
    return better < a.topk_groups;
  };
  bool kept[kMaxExperts];
  for (std::ptrdiff_t g = 0; g < a.groups; ++g) kept[g] = is_kept(g);
  for (std::ptrdiff_t e = 0; e < a.E; ++e) {
    if (!kept[e / size]) key[e] = kUnavailable;
  }
}

}  // namespace

// s = scores;  I = the A largest of s + bias;  w_e = s_e / sum_I s * scale,  e in I
void route(const RouteArgs& a) noexcept {
  float *scores = a.scratch, *key = a.scratch + a.E;
  score(a, scores);
  for (std::ptrdiff_t e = 0; e < a.E; ++e) {
    key[e] = scores[e] + a.bias[e];
    if (a.biased_weights) scores[e] = key[e];
    if (std::isnan(key[e])) key[e] = -INFINITY;  // a NaN is the last choice, but it is one
  }
  if (a.groups > 1) keep_best_groups(a, key);

  // Chosen experts become unavailable one by one; what the loop below finds is in order of preference.
  std::ptrdiff_t chosen = 0;
  for (; chosen < a.A; ++chosen) {
    const std::ptrdiff_t e = first_largest(key, a.E);
    if (e < 0) break;
    key[e] = kUnavailable;
    std::ptrdiff_t at = chosen;  // insert in ascending order of expert
    for (; at > 0 && a.ids[at - 1] > e; --at) a.ids[at] = a.ids[at - 1];
    a.ids[at] = static_cast<std::int32_t>(e);
  }

  double sum = 0;
  for (std::ptrdiff_t i = 0; i < chosen; ++i) sum += scores[a.ids[i]];
  const double divisor = a.renormalize && a.A > 1 ? sum + 1e-20 : 1;
  for (std::ptrdiff_t i = 0; i < chosen; ++i) {
    a.weights[i] = static_cast<float>(scores[a.ids[i]] / divisor * double{a.scale});
  }
}

// y = sum_a weights[a] rows[a] + shared
void moe_combine(const MoeCombineArgs& a) noexcept {
  for (std::ptrdiff_t i = 0; i < a.n; ++i) {
    double sum = a.shared ? a.shared[i] : 0;
    for (std::ptrdiff_t j = 0; j < a.A; ++j) sum += double{a.weights[j]} * a.rows[j][i];
    a.y[i] = static_cast<float>(sum);
  }
}

}  // namespace kl::reference
