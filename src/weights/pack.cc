#include "weights/pack.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "weights/widen.h"

namespace kl {
namespace {

constexpr std::ptrdiff_t kMaxGroup = 64;

/// The weights of a group, and what the square of each one's error counts.
struct Weights {
  const float* w;
  std::ptrdiff_t n;
  const float* importance;  // [n]
};

constexpr std::array<float, kMaxGroup> kAllAlike = [] {
  std::array<float, kMaxGroup> ones{};
  for (float& one : ones) one = 1;
  return ones;
}();

/// One group of weights and how it is represented: w ~ scale q + minimum.
struct Group {
  float scale = 0, minimum = 0;
  std::array<int, kMaxGroup> q{};
};

float round_to(float x, DType type) {
  if (type == DType::kBF16) return bf16_to_f32(f32_to_bf16(x));
  return type == DType::kF16 ? f16_to_f32(f32_to_f16(x)) : x;
}

int nearest(float w, float inverse, int most, const Group& g) {
  return std::clamp(static_cast<int>(std::lrint((w - g.minimum) * inverse)), 0, most);
}

/// The nearest numbers for the given scale and minimum; returns the squared error.
double assign(const Weights& group, int most, Group& g) {
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
void keep_better(const Weights& group, const PackedFormat& f, Group candidate, Group& best, double& least) {
  candidate.scale = round_to(candidate.scale, f.scale_type);
  candidate.minimum =
      f.has_minimum ? round_to(candidate.minimum, f.scale_type) : -std::ldexp(candidate.scale, f.bits - 1);
  const double error = assign(group, (1 << f.bits) - 1, candidate);
  if (error < least) best = candidate, least = error;
}

/// Without a minimum: q counts from the middle, and the weight of largest magnitude, whatever its sign, takes the long side.
Group symmetric_group(const Weights& group, const PackedFormat& f) {
  const auto& [w, n, importance] = group;
  float extreme = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i)
    if (std::fabs(w[i]) > std::fabs(extreme)) extreme = w[i];
  Group best;
  double least = INFINITY;
  const float middle = static_cast<float>(1 << (f.bits - 1));
  const int candidates = f.bits == 4 ? 9 : 0;
  for (int step = -candidates; step <= candidates; ++step) {
    Group g;
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
Group affine_group(const Weights& group, const PackedFormat& f) {
  const auto& [w, n, importance] = group;
  const auto [low, high] = std::minmax_element(w, w + n);
  const float most = static_cast<float>((1 << f.bits) - 1);
  Group best;
  double least = INFINITY;
  const int candidates = f.bits == 4 ? 5 : 1;
  for (int step = 0; step < candidates; ++step) {
    const float inset = 0.03f * static_cast<float>(step) * (*high - *low);
    Group g;
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

void store_scale(float x, DType type, std::ptrdiff_t at, std::byte* to) {
  if (type == DType::kF32) {
    std::memcpy(to + 4 * at, &x, 4);
  } else {
    const std::uint16_t half = type == DType::kBF16 ? f32_to_bf16(x) : f32_to_f16(x);
    std::memcpy(to + 2 * at, &half, 2);
  }
}

void store_quant(int q, const PackedFormat& f, std::ptrdiff_t output, std::ptrdiff_t input, std::byte* tile) {
  if (f.bits == 8) {
    tile[input / 4 * 64 + 4 * output + input % 4] = static_cast<std::byte>(q);
    return;
  }
  std::byte& byte = tile[input / 8 * 64 + 4 * output + input % 4];
  byte |= static_cast<std::byte>(input % 8 < 4 ? q : q << 4);
}

Group best_group(const Weights& group, const PackedFormat& f) {
  return f.has_minimum ? affine_group(group, f) : symmetric_group(group, f);
}

/// The scale, and minimum where there is one, that least squares give for numbers already chosen.
void refit(const Weights& group, const PackedFormat& f, Group& g) {
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

/// As best_group(), which is where it begins, with both ends of the range drawn in separately and least squares repeated.
Group thorough_group(const Weights& group, const PackedFormat& f) {
  constexpr int kInsets = 8, kRefits = 3;
  constexpr float kInset = 0.025f;
  Group best = best_group(group, f);
  double least = assign(group, (1 << f.bits) - 1, best);
  if (f.bits == 8) return best;
  const auto improve = [&](Group g) {
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
      Group g;
      g.minimum = *low + kInset * static_cast<float>(a) * range;
      g.scale = range * (1 - kInset * static_cast<float>(a + b)) / static_cast<float>((1 << f.bits) - 1);
      improve(g);
    }
  }
  return best;
}

/// Writes the group of row r that begins at input k into its block.
void store_group(const Group& g, std::ptrdiff_t n, const PackedFormat& f, std::ptrdiff_t r, std::ptrdiff_t k,
                 std::byte* block) {
  std::byte* tile = block + k / kTileInputs * f.tile_bytes();
  const std::ptrdiff_t at = k % kTileInputs / f.group * kTileOutputs + r;
  store_scale(g.scale, f.scale_type, at, tile + f.quant_bytes());
  if (f.has_minimum) store_scale(g.minimum, f.scale_type, at, tile + f.quant_bytes() + f.scales_bytes());
  for (std::ptrdiff_t i = 0; i < n; ++i) store_quant(g.q[static_cast<std::size_t>(i)], f, r, k % kTileInputs + i, tile);
}

}  // namespace

void pack_block(const float* w, std::ptrdiff_t rows, std::ptrdiff_t K, const PackedFormat& f, std::byte* block) {
  std::memset(block, 0, static_cast<std::size_t>(f.block_bytes(K)));
  for (std::ptrdiff_t r = 0; r < rows; ++r) {
    for (std::ptrdiff_t k = 0; k < K; k += f.group) {
      const std::ptrdiff_t n = std::min<std::ptrdiff_t>(f.group, K - k);
      store_group(best_group({w + r * K + k, n, kAllAlike.data()}, f), n, f, r, k, block);
    }
  }
}

void put_packed_row(const PackedRow& row, std::ptrdiff_t K, const PackedFormat& f, std::ptrdiff_t r,
                    std::byte* block) noexcept {
  const std::ptrdiff_t padded = f.tiles(K) * kTileInputs, groups = (K + f.group - 1) / f.group;
  std::fill(row.q + K, row.q + padded, std::uint8_t{0});
  std::fill(row.scale + groups, row.scale + padded / f.group, 0.0f);
  std::fill(row.minimum + groups, row.minimum + padded / f.group, 0.0f);
  for (std::ptrdiff_t k = 0; k < padded; k += kTileInputs) {
    std::byte* tile = block + k / kTileInputs * f.tile_bytes();
    const std::uint8_t* q = row.q + k;
    // Four inputs of an output lie together, and at 4 bits the next four in the upper halves of the same bytes.
    for (std::ptrdiff_t line = 0; line < f.quant_bytes() / 64; ++line) {
      std::uint32_t word = 0, upper = 0;
      std::memcpy(&word, q + (f.bits == 8 ? 4 : 8) * line, 4);
      if (f.bits == 4) {
        std::memcpy(&upper, q + 8 * line + 4, 4);
        word |= upper << 4;
      }
      std::memcpy(tile + 64 * line + 4 * r, &word, 4);
    }
    for (std::ptrdiff_t g = 0; g < kTileInputs / f.group; ++g) {
      const std::ptrdiff_t at = g * kTileOutputs + r, from = k / f.group + g;
      store_scale(row.scale[from], f.scale_type, at, tile + f.quant_bytes());
      if (f.has_minimum) store_scale(row.minimum[from], f.scale_type, at, tile + f.quant_bytes() + f.scales_bytes());
    }
  }
}

void get_packed_row(const std::byte* block, std::ptrdiff_t K, const PackedFormat& f, std::ptrdiff_t r,
                    const PackedRow& row) noexcept {
  for (std::ptrdiff_t t = 0; t < f.tiles(K); ++t) {
    const std::byte* tile = block + t * f.tile_bytes();
    std::uint8_t* q = row.q + t * kTileInputs;
    for (std::ptrdiff_t line = 0; line < f.quant_bytes() / 64; ++line) {
      std::uint32_t word = 0;
      std::memcpy(&word, tile + 64 * line + 4 * r, 4);
      if (f.bits == 8) {
        std::memcpy(q + 4 * line, &word, 4);
        continue;
      }
      const std::uint32_t low = word & 0x0f0f0f0fu, high = word >> 4 & 0x0f0f0f0fu;
      std::memcpy(q + 8 * line, &low, 4);
      std::memcpy(q + 8 * line + 4, &high, 4);
    }
    for (std::ptrdiff_t g = 0; g < kTileInputs / f.group; ++g) {
      const std::ptrdiff_t at = g * kTileOutputs + r, to = t * kTileInputs / f.group + g;
      row.scale[to] = widen(tile + f.quant_bytes(), f.scale_type, at);
      if (f.has_minimum) row.minimum[to] = widen(tile + f.quant_bytes() + f.scales_bytes(), f.scale_type, at);
    }
  }
}

double pack_block_for(std::span<const float> U, float* w, std::ptrdiff_t rows, std::ptrdiff_t K, const PackedFormat& f,
                      std::byte* block) {
  std::memset(block, 0, static_cast<std::size_t>(f.block_bytes(K)));
  const int most = (1 << f.bits) - 1;
  double loss = 0;
  std::array<Group, static_cast<std::size_t>(kTileOutputs)> groups;
  std::array<float, kMaxGroup> importance{};
  for (std::ptrdiff_t k = 0; k < K; k += f.group) {
    const std::ptrdiff_t n = std::min<std::ptrdiff_t>(f.group, K - k);
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      const float u = U[static_cast<std::size_t>((k + i) * K + k + i)];
      importance[static_cast<std::size_t>(i)] = 1 / (u * u);
    }
    for (std::ptrdiff_t r = 0; r < rows; ++r) {
      groups[static_cast<std::size_t>(r)] = thorough_group({w + r * K + k, n, importance.data()}, f);
    }
    for (std::ptrdiff_t j = k; j < k + n; ++j) {
      const float* u = U.data() + j * K;
      for (std::ptrdiff_t r = 0; r < rows; ++r) {
        Group& g = groups[static_cast<std::size_t>(r)];
        float* row = w + r * K;
        const int q = nearest(row[j], g.scale == 0 ? 0 : 1 / g.scale, most, g);
        g.q[static_cast<std::size_t>(j - k)] = q;
        const float e = (row[j] - (g.scale * static_cast<float>(q) + g.minimum)) / u[j];
        loss += double{e} * double{e};
        for (std::ptrdiff_t i = j + 1; i < K; ++i) row[i] -= e * u[i];
      }
    }
    for (std::ptrdiff_t r = 0; r < rows; ++r) store_group(groups[static_cast<std::size_t>(r)], n, f, r, k, block);
  }
  return loss;
}

}  // namespace kl
