#include "verify/tensor_scan.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/random.h"

namespace kl {
namespace {

constexpr std::size_t kBatch = 2048;  // numbers widened at once: they stay in the first cache
constexpr std::size_t kLanes = 16;
constexpr std::uint32_t kMagnitude = 0x7fffffffu, kInfinity = 0x7f800000u, kLowestExponent = 0x00800000u;

/// Of numbers known to be finite: lanes, so that the compiler needs no leave to reorder sums.
TensorStats scan_finite(const float* x, std::size_t n) noexcept {
  float lowest[kLanes], highest[kLanes], squares[kLanes] = {};
  std::int32_t zeros[kLanes] = {};
  std::fill_n(lowest, kLanes, std::numeric_limits<float>::max());
  std::fill_n(highest, kLanes, std::numeric_limits<float>::lowest());
  const auto take = [&](std::size_t lane, float value) {
    lowest[lane] = value < lowest[lane] ? value : lowest[lane];
    highest[lane] = value > highest[lane] ? value : highest[lane];
    squares[lane] += value * value;
    zeros[lane] += value == 0.0f;
  };
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) take(lane, x[i + lane]);
  for (; i < n; ++i) take(i % kLanes, x[i]);

  TensorStats stats;
  stats.count = static_cast<std::int64_t>(n);
  stats.min = *std::min_element(lowest, lowest + kLanes);
  stats.max = *std::max_element(highest, highest + kLanes);
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    stats.sum_squares += squares[lane];
    stats.zeros += zeros[lane];
  }
  if (!std::isfinite(stats.sum_squares)) {  // squares beyond float: rare, and then exactness matters less than time
    stats.sum_squares = 0;
    for (std::size_t k = 0; k < n; ++k) stats.sum_squares += static_cast<double>(x[k]) * x[k];
  }
  return stats;
}

/// Of any numbers.  `x` is used up.
TensorStats scan_numbers(float* x, std::size_t n) noexcept {
  std::uint32_t carry = 0;  // into the sign, out of an exponent of all ones
  for (std::size_t i = 0; i < n; ++i) carry |= (std::bit_cast<std::uint32_t>(x[i]) & kMagnitude) + kLowestExponent;
  if (carry <= kMagnitude) return scan_finite(x, n);
  TensorStats bad;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(x[i]) & kMagnitude;
    if (magnitude < kInfinity) {
      x[kept++] = x[i];
      continue;
    }
    ++(magnitude == kInfinity ? bad.infs : bad.nans);
    if (bad.first_bad < 0) bad.first_bad = static_cast<std::int64_t>(i);
  }
  TensorStats stats = kept > 0 ? scan_finite(x, kept) : TensorStats{};
  stats.count = static_cast<std::int64_t>(n);
  stats.nans = bad.nans;
  stats.infs = bad.infs;
  stats.first_bad = bad.first_bad;
  return stats;
}

std::uint64_t mix(std::uint64_t h, std::uint64_t word) { return std::rotl((h ^ word) * kGoldenRatio64, 29); }

/// Tells bytes apart well enough to compare only those that agree in it.
std::uint64_t content_of(const std::byte* data, std::size_t bytes) noexcept {
  std::uint64_t lanes[4] = {1, 2, 3, 4}, words[4];
  std::size_t at = 0;
  for (; at + sizeof words <= bytes; at += sizeof words) {
    std::memcpy(words, data + at, sizeof words);
    for (std::size_t l = 0; l < 4; ++l) lanes[l] = mix(lanes[l], words[l]);
  }
  std::memset(words, 0, sizeof words);
  if (at < bytes) std::memcpy(words, data + at, bytes - at);
  std::uint64_t h = bytes;
  for (std::size_t l = 0; l < 4; ++l) h = mix(h, mix(lanes[l], words[l]));
  return h;
}

}  // namespace

void TensorStats::append(const TensorStats& next) {
  const std::int64_t finite = count - nans - infs, next_finite = next.count - next.nans - next.infs;
  if (next_finite > 0) {
    min = finite > 0 ? std::min(min, next.min) : next.min;
    max = finite > 0 ? std::max(max, next.max) : next.max;
  }
  if (first_bad < 0 && next.first_bad >= 0) first_bad = count + next.first_bad;
  count += next.count;
  nans += next.nans;
  infs += next.infs;
  zeros += next.zeros;
  sum_squares += next.sum_squares;
  content = mix(content, next.content);
}

double TensorStats::rms() const {
  const std::int64_t finite = count - nans - infs;
  return finite > 0 ? std::sqrt(sum_squares / static_cast<double>(finite)) : 0;
}

float TensorStats::largest() const { return std::max(std::abs(min), std::abs(max)); }

double TensorStats::rms_of_rest() const {
  const std::int64_t rest = count - nans - infs - 1;
  const double largest_square = static_cast<double>(largest()) * largest();
  return rest > 0 ? std::sqrt(std::max(0.0, sum_squares - largest_square) / static_cast<double>(rest)) : 0;
}

TensorStats scan(const NumberLayout& layout, const std::byte* data, std::size_t bytes) noexcept {
  TensorStats stats;
  if (layout.count > 0) {
    float numbers[kBatch];
    const std::size_t blocks_at_once = std::max<std::size_t>(1, kBatch / layout.count);
    const std::size_t blocks = bytes / layout.block_bytes;
    for (std::size_t b = 0; b < blocks; b += blocks_at_once) {
      const std::size_t n =
          read_numbers(layout, data + b * layout.block_bytes, std::min(blocks_at_once, blocks - b), numbers);
      stats.append(scan_numbers(numbers, n));
    }
  }
  stats.content = content_of(data, bytes);
  return stats;
}

}  // namespace kl
