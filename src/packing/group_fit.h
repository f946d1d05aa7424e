#pragma once
// How one group of weights is rounded.
#include <array>
#include <cstddef>

#include "kernels/packed.h"

namespace kl {

inline constexpr std::ptrdiff_t kMaxGroup = 64;

/// The weights of a group, and what the square of each one's error counts.
struct GroupWeights {
  const float* w;
  std::ptrdiff_t n;
  const float* importance;  // [n]
};

/// A group of weights as it is represented: w ~ scale q + minimum.
struct RoundedGroup {
  float scale = 0, minimum = 0;
  std::array<int, kMaxGroup> q{};

  double value(std::size_t i) const { return double{scale} * q[i] + double{minimum}; }
};

/// Scale, minimum and numbers that make the error small, over a few candidates.
RoundedGroup best_group(const GroupWeights& group, const PackedFormat& format);

/// As best_group(), which is where it begins, with both ends of the range drawn in separately and least squares repeated.
RoundedGroup thorough_group(const GroupWeights& group, const PackedFormat& format);

/// The number of the group that is nearest to w.
int nearest_number(float w, const PackedFormat& format, const RoundedGroup& group);

/// Gives the group a scale, and a minimum if the format has one, as the file can hold them.
void set_scale(float scale, float minimum, const PackedFormat& format, RoundedGroup& group);

}  // namespace kl
