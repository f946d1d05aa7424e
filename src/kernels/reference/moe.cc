#include <algorithm>
#include <cmath>

#include "kernels/reference/ops.h"

namespace kl::reference {
namespace {

/// scores = softmax(logits) or sigmoid(logits).
void score(const RouteArgs& a, float* scores) {
  double peak = -INFINITY, sum = 0;
  for (std::ptrdiff_t e = 0; e < a.E; ++e) peak = std::fmax(peak, a.logits[e]);
  for (std::ptrdiff_t e = 0; e < a.E; ++e) sum += std::exp(a.logits[e] - peak);
  for (std::ptrdiff_t e = 0; e < a.E; ++e) {
    scores[e] = static_cast<float>(a.softmax ? std::exp(a.logits[e] - peak) / sum : sigmoid(a.logits[e]));
  }
}

/// Sum of the two largest keys of a group (the key itself if it is alone); infinities that cancel count for nothing.
float group_score(const float* key, std::ptrdiff_t size) {
  if (size == 1) return key[0];
  const float* first = std::max_element(key, key + size);
  float second = -INFINITY;
  for (const float* k = key; k != key + size; ++k) second = k == first ? second : std::max(second, *k);
  const float sum = *first + second;
  return std::isnan(sum) ? -INFINITY : sum;
}

/// Whether group g is among the topk_groups best.
bool is_kept(const RouteArgs& a, const float* key, std::ptrdiff_t g) {
  const std::ptrdiff_t size = a.E / a.groups;
  // A group is dropped if at least topk_groups others are better; an equal one with a lower index is better.
  std::ptrdiff_t better = 0;
  const float mine = group_score(key + g * size, size);
  for (std::ptrdiff_t h = 0; h < a.groups; ++h) {
    const float other = group_score(key + h * size, size);
    better += other > mine || (other == mine && h < g);
  }
  return better < a.topk_groups;
}

}  // namespace

// s = scores;  I = the A largest of s + bias;  w_e = s_e / sum_I s * scale,  e in I
void route(const RouteArgs& a) noexcept {
  float *scores = a.scratch, *key = a.scratch + a.E;
  score(a, scores);
  for (std::ptrdiff_t e = 0; e < a.E; ++e) {
    const float biased = scores[e] + a.bias[e];
    key[e] = std::isnan(biased) ? -INFINITY : biased;  // the last choice, but it is one
    if (a.biased_weights) scores[e] = biased;
  }

  // Those that qualify, best first; the lower index first among equals.
  std::int32_t order[kMaxExperts];
  std::ptrdiff_t count = 0;
  for (std::ptrdiff_t g = 0; g < a.groups; ++g) {
    if (a.groups > 1 && !is_kept(a, key, g)) continue;
    for (std::ptrdiff_t e = g * (a.E / a.groups); e < (g + 1) * (a.E / a.groups); ++e)
      order[count++] = static_cast<std::int32_t>(e);
  }
  std::sort(order, order + count,
            [key](std::int32_t d, std::int32_t e) { return key[d] != key[e] ? key[d] > key[e] : d < e; });

  const std::ptrdiff_t chosen = std::min(a.A, count);
  std::copy_n(order, chosen, a.ids);
  std::sort(a.ids, a.ids + chosen);
  double sum = 0;
  for (std::ptrdiff_t i = 0; i < chosen; ++i) sum += scores[a.ids[i]];
  const double divisor = a.renormalize && a.A > 1 ? sum + 1e-20 : 1;
  for (std::ptrdiff_t i = 0; i < chosen; ++i)
    a.weights[i] = static_cast<float>(scores[a.ids[i]] / divisor * double{a.scale});
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
