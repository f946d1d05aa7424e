#include "weights/pack.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "weights/widen.h"

namespace kl {
namespace {

constexpr std::ptrdiff_t kMaxGroup = 64;

/// One group of weights and how it is represented: w ~ scale q + minimum.
struct Group {
  float scale = 0, minimum = 0;
  std::array<int, kMaxGroup> q{};
};

float round_to(float x, DType type) {
  if (type == DType::kBF16) return bf16_to_f32(f32_to_bf16(x));
  return type == DType::kF16 ? f16_to_f32(f32_to_f16(x)) : x;
}

/// The nearest numbers for the given scale and minimum; returns the squared error.
double assign(const float* w, std::ptrdiff_t n, int most, Group& g) {
  const float inverse = g.scale == 0 ? 0 : 1 / g.scale;
  double error = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    const int q = static_cast<int>(std::lrint((w[i] - g.minimum) * inverse));
    g.q[static_cast<std::size_t>(i)] = std::clamp(q, 0, most);
    const double d = double{g.scale} * g.q[static_cast<std::size_t>(i)] + double{g.minimum} - double{w[i]};
    error += d * d;
  }
  return error;
}

/// Keeps the better of two candidates once their scales are what the file can hold.
void keep_better(const float* w, std::ptrdiff_t n, const PackedFormat& f, Group candidate, Group& best, double& least) {
  candidate.scale = round_to(candidate.scale, f.scale_type);
  candidate.minimum =
      f.has_minimum ? round_to(candidate.minimum, f.scale_type) : -std::ldexp(candidate.scale, f.bits - 1);
  const double error = assign(w, n, (1 << f.bits) - 1, candidate);
  if (error < least) best = candidate, least = error;
}

/// Without a minimum: q counts from the middle, and the weight of largest magnitude, whatever its sign, takes the long side.
Group symmetric_group(const float* w, std::ptrdiff_t n, const PackedFormat& f) {
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
    keep_better(w, n, f, g, best, least);
    assign(w, n, (1 << f.bits) - 1, g);
    double wq = 0, qq = 0;  // least squares for these numbers
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      const double q = g.q[static_cast<std::size_t>(i)] - double{middle};
      wq += q * double{w[i]};
      qq += q * q;
    }
    if (qq > 0) {
      g.scale = static_cast<float>(wq / qq);
      keep_better(w, n, f, g, best, least);
    }
  }
  return best;
}

/// With a minimum: the range, drawn in a little, then the least-squares line through (q, w).
Group affine_group(const float* w, std::ptrdiff_t n, const PackedFormat& f) {
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
    keep_better(w, n, f, g, best, least);
    assign(w, n, static_cast<int>(most), g);
    double q1 = 0, q2 = 0, w1 = 0, qw = 0;
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      const double q = g.q[static_cast<std::size_t>(i)];
      q1 += q, q2 += q * q, w1 += double{w[i]}, qw += q * double{w[i]};
    }
    const double count = static_cast<double>(n), determinant = count * q2 - q1 * q1;
    if (determinant > 0) {
      g.scale = static_cast<float>((count * qw - q1 * w1) / determinant);
      g.minimum = static_cast<float>((w1 - double{g.scale} * q1) / count);
      keep_better(w, n, f, g, best, least);
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

}  // namespace

void pack_block(const float* w, std::ptrdiff_t rows, std::ptrdiff_t K, const PackedFormat& f, std::byte* block) {
  std::memset(block, 0, static_cast<std::size_t>(f.block_bytes(K)));
  for (std::ptrdiff_t r = 0; r < rows; ++r) {
    for (std::ptrdiff_t k = 0; k < K; k += f.group) {
      const std::ptrdiff_t n = std::min<std::ptrdiff_t>(f.group, K - k);
      const float* w_g = w + r * K + k;
      const Group g = f.has_minimum ? affine_group(w_g, n, f) : symmetric_group(w_g, n, f);
      std::byte* tile = block + k / kTileInputs * f.tile_bytes();
      const std::ptrdiff_t at = k % kTileInputs / f.group * kTileOutputs + r;
      store_scale(g.scale, f.scale_type, at, tile + f.quant_bytes());
      if (f.has_minimum) store_scale(g.minimum, f.scale_type, at, tile + f.quant_bytes() + f.scales_bytes());
      for (std::ptrdiff_t i = 0; i < n; ++i)
        store_quant(g.q[static_cast<std::size_t>(i)], f, r, k % kTileInputs + i, tile);
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

}  // namespace kl
