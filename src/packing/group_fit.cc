#include "packing/group_fit.h"

#include <algorithm>
#include <cmath>

#include "base/numbers.h"

namespace kl {
namespace {

int nearest(float w, float inverse, int most, const RoundedGroup& g) {
  return std::clamp(static_cast<int>(std::lrint((w - g.minimum) * inverse)), 0, most);
}

/// The nearest numbers for the given scale and minimum; returns the squared error.
double assign(const GroupWeights& group, int most, RoundedGroup& g) {
  const auto& [w, n, importance] = group;
  const float inverse = g.scale == 0 ? 0 : 1 / g.scale;
  double error = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    g.q[static_cast<std::size_t>(i)] = nearest(w[i], inverse, most, g);
    const double d = double{g.scale} * g.q[static_cast<std::size_t>(i)] + double{g.minimum} - double{w[i]};
    error += double{importance[i]} * d * d;
  }
  return error;
}

/// Keeps the better of two candidates once their scales are what the file can hold.
void keep_better(const GroupWeights& group, const PackedFormat& f, RoundedGroup candidate, RoundedGroup& best,
                 double& least) {
  set_scale(candidate.scale, candidate.minimum, f, candidate);
  const double error = assign(group, (1 << f.bits) - 1, candidate);
  if (error < least) best = candidate, least = error;
}

/// Without a minimum: q counts from the middle, and the weight of largest magnitude, whatever its sign, takes the long side.
RoundedGroup symmetric_group(const GroupWeights& group, const PackedFormat& f) {
  const auto& [w, n, importance] = group;
  float extreme = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i)
    if (std::fabs(w[i]) > std::fabs(extreme)) extreme = w[i];
  RoundedGroup best;
  double least = INFINITY;
  const float middle = static_cast<float>(1 << (f.bits - 1));
  const int candidates = f.bits == 4 ? 9 : 0;
  for (int step = -candidates; step <= candidates; ++step) {
    RoundedGroup g;
    g.scale = -extreme / (middle + 0.1f * static_cast<float>(step));
    g.minimum = -middle * g.scale;
    keep_better(group, f, g, best, least);
    assign(group, (1 << f.bits) - 1, g);
    double wq = 0, qq = 0;  // least squares for these numbers
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      const double q = g.q[static_cast<std::size_t>(i)] - double{middle};
      wq += double{importance[i]} * q * double{w[i]};
      qq += double{importance[i]} * q * q;
    }
    if (qq > 0) {
      g.scale = static_cast<float>(wq / qq);
      keep_better(group, f, g, best, least);
    }
  }
  return best;
}

/// With a minimum: the range, drawn in a little, then the least-squares line through (q, w).
RoundedGroup affine_group(const GroupWeights& group, const PackedFormat& f) {
  const auto& [w, n, importance] = group;
  const auto [low, high] = std::minmax_element(w, w + n);
  const float most = static_cast<float>((1 << f.bits) - 1);
  RoundedGroup best;
  double least = INFINITY;
  const int candidates = f.bits == 4 ? 5 : 1;
  for (int step = 0; step < candidates; ++step) {
    const float inset = 0.03f * static_cast<float>(step) * (*high - *low);
    RoundedGroup g;
    g.minimum = *low + inset;
    g.scale = (*high - *low - 2 * inset) / most;
    keep_better(group, f, g, best, least);
    assign(group, static_cast<int>(most), g);
    double count = 0, q1 = 0, q2 = 0, w1 = 0, qw = 0;
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      const double q = g.q[static_cast<std::size_t>(i)];
      const double s = double{importance[i]};
      count += s, q1 += s * q, q2 += s * q * q, w1 += s * double{w[i]}, qw += s * q * double{w[i]};
    }
    const double determinant = count * q2 - q1 * q1;
    if (determinant > 0) {
      g.scale = static_cast<float>((count * qw - q1 * w1) / determinant);
      g.minimum = static_cast<float>((w1 - double{g.scale} * q1) / count);
      keep_better(group, f, g, best, least);
    }
  }
  return best;
}

/// The scale, and minimum where there is one, that least squares give for numbers already chosen.
void refit(const GroupWeights& group, const PackedFormat& f, RoundedGroup& g) {
  double count = 0, q1 = 0, q2 = 0, w1 = 0, qw = 0;
  for (std::ptrdiff_t i = 0; i < group.n; ++i) {
    const double s = double{group.importance[i]}, w = double{group.w[i]};
    const double q = g.q[static_cast<std::size_t>(i)] - (f.has_minimum ? 0.0 : std::ldexp(1.0, f.bits - 1));
    count += s, q1 += s * q, q2 += s * q * q, w1 += s * w, qw += s * q * w;
  }
  if (!f.has_minimum) {
    if (q2 > 0) g.scale = static_cast<float>(qw / q2);
  } else if (const double determinant = count * q2 - q1 * q1; determinant > 0) {
    g.scale = static_cast<float>((count * qw - q1 * w1) / determinant);
    g.minimum = static_cast<float>((w1 - double{g.scale} * q1) / count);
  }
}

}  // namespace

RoundedGroup best_group(const GroupWeights& group, const PackedFormat& f) {
  return f.has_minimum ? affine_group(group, f) : symmetric_group(group, f);
}

RoundedGroup thorough_group(const GroupWeights& group, const PackedFormat& f) {
  constexpr int kInsets = 8, kRefits = 3;
  constexpr float kInset = 0.025f;
  RoundedGroup best = best_group(group, f);
  double least = assign(group, (1 << f.bits) - 1, best);
  if (f.bits == 8) return best;
  const auto improve = [&](RoundedGroup g) {
    for (int i = 0; i < kRefits; ++i) {
      assign(group, (1 << f.bits) - 1, g);
      refit(group, f, g);
      keep_better(group, f, g, best, least);
    }
  };
  improve(best);
  if (!f.has_minimum) return best;
  const auto [low, high] = std::minmax_element(group.w, group.w + group.n);
  const float range = *high - *low;
  for (int a = -1; a < kInsets; ++a) {
    for (int b = -1; b < kInsets; ++b) {
      RoundedGroup g;
      g.minimum = *low + kInset * static_cast<float>(a) * range;
      g.scale = range * (1 - kInset * static_cast<float>(a + b)) / static_cast<float>((1 << f.bits) - 1);
      improve(g);
    }
  }
  return best;
}

int nearest_number(float w, const PackedFormat& f, const RoundedGroup& g) {
  return nearest(w, g.scale == 0 ? 0 : 1 / g.scale, (1 << f.bits) - 1, g);
}

void set_scale(float scale, float minimum, const PackedFormat& f, RoundedGroup& g) {
  g.scale = rounded_to(scale, f.scale_type);
  g.minimum = f.has_minimum ? rounded_to(minimum, f.scale_type) : -std::ldexp(g.scale, f.bits - 1);
}

}  // namespace kl
