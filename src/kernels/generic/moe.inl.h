#pragma once
// Router and mixing of expert outputs.  Scores are vector functions; the choice is E x A comparisons, which are cheap
// beside one expert.
#include "kernels/generic/functions.inl.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

// NaN marks an expert that cannot be chosen (any more): every comparison with it is false.
constexpr float kUnavailable = __builtin_nanf("");

/// Not NaN.
inline bool is_available(float key) { return key == key; }

/// The available index with the largest key, the first of equals; -1 if there is none.
inline std::ptrdiff_t first_largest(const float* key, std::ptrdiff_t n) {
  std::ptrdiff_t best = 0;
  while (best < n && !is_available(key[best])) ++best;
  if (best == n) return -1;
  for (std::ptrdiff_t i = best + 1; i < n; ++i) best = key[i] > key[best] ? i : best;
  return best;
}

/// scores = sigmoid(logits) or softmax(logits).
void score(const RouteArgs& a, float* scores) {
  if (!a.softmax) {
    return for_each_vector(
        a.E, [&](std::ptrdiff_t e, auto lanes) { store(scores + e, sigmoid(load(a.logits + e, lanes)), lanes); });
  }
  float peak = -__builtin_inff();
  for (std::ptrdiff_t e = 0; e < a.E; ++e) peak = a.logits[e] > peak ? a.logits[e] : peak;
  for_each_vector(a.E, [&](std::ptrdiff_t e, auto lanes) {
    store(scores + e, exp(load(a.logits + e, lanes) - broadcast(peak)), lanes);
  });
  double sum = 0;
  for (std::ptrdiff_t e = 0; e < a.E; ++e) sum += static_cast<double>(scores[e]);
  for (std::ptrdiff_t e = 0; e < a.E; ++e) scores[e] = static_cast<float>(static_cast<double>(scores[e]) / sum);
}

/// Sum of the two largest keys of a group, the key itself if it is alone.
inline float group_score(const float* key, std::ptrdiff_t size) {
  if (size == 1) return key[0];
  float first = key[0], second = -__builtin_inff();
  for (std::ptrdiff_t i = 1; i < size; ++i) {
    second = key[i] > first ? first : key[i] > second ? key[i] : second;
    first = key[i] > first ? key[i] : first;
  }
  const float sum = first + second;
  return is_available(sum) ? sum : -__builtin_inff();
}

/// Makes every expert outside the topk_groups best groups unavailable.
void keep_best_groups(const RouteArgs& a, float* key) {
  const std::ptrdiff_t size = a.E / a.groups;
  float groups[kMaxExperts];
  for (std::ptrdiff_t g = 0; g < a.groups; ++g) groups[g] = group_score(key + g * size, size);
  for (std::ptrdiff_t kept = 0; kept < a.topk_groups; ++kept) {
    const std::ptrdiff_t g = first_largest(groups, a.groups);
    if (g < 0) break;
    groups[g] = kUnavailable;  // as a choice: it is kept
  }
  for (std::ptrdiff_t g = 0; g < a.groups; ++g) {
    if (!is_available(groups[g])) continue;
    for (std::ptrdiff_t i = 0; i < size; ++i) key[g * size + i] = kUnavailable;
  }
}

/// RouteFn.
void route(const RouteArgs& a) noexcept {
  float *scores = a.scratch, *key = a.scratch + a.E;
  score(a, scores);
  for (std::ptrdiff_t e = 0; e < a.E; ++e) {
    key[e] = scores[e] + a.bias[e];
    if (a.biased_weights) scores[e] = key[e];
    if (!is_available(key[e])) key[e] = -__builtin_inff();  // a NaN is the last choice, but it is one
  }
  if (a.groups > 1) keep_best_groups(a, key);

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
  for (std::ptrdiff_t i = 0; i < chosen; ++i) sum += static_cast<double>(scores[a.ids[i]]);
  const double factor = static_cast<double>(a.scale) / (a.renormalize && a.A > 1 ? sum + 1e-20 : 1.0);
  for (std::ptrdiff_t i = 0; i < chosen; ++i) {
    a.weights[i] = static_cast<float>(static_cast<double>(scores[a.ids[i]]) * factor);
  }
}

/// MoeCombineFn.  In double: A roundings less on the way into the residual stream, where memory is waited for anyway.
void moe_combine(const MoeCombineArgs& a) noexcept {
  for_each_vector(a.n, [&](std::ptrdiff_t i, auto lanes) {
    const F32 shared = a.shared ? load(a.shared + i, lanes) : zero();
    F64 sum_low = low(shared), sum_high = high(shared);
    for (std::ptrdiff_t j = 0; j < a.A; ++j) {
      const F64 weight = broadcast(static_cast<double>(a.weights[j]));
      const F32 row = load(a.rows[j] + i, lanes);
      sum_low = fma(weight, low(row), sum_low);
      sum_high = fma(weight, high(row), sum_high);
    }
    store(a.y + i, narrow(sum_low, sum_high), lanes);
  });
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
