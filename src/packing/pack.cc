#include "packing/pack.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/numbers.h"

namespace kl {
namespace {

constexpr std::array<float, kMaxGroup> kAllAlike = [] {
  std::array<float, kMaxGroup> ones{};
  for (float& one : ones) one = 1;
  return ones;
}();

/// Four numbers of an output, a byte each, which a tile keeps side by side.
std::uint32_t load_four(const std::uint8_t* q) {
  std::uint32_t four = 0;
  std::memcpy(&four, q, 4);
  return four;
}

constexpr std::uint32_t kLow4 = 0x0f0f0f0fu, kLow2 = 0x03030303u;  // bits of each byte

/// The quants q [64] of output r of a tile.
void put_quants(const std::uint8_t* q, int bits, std::ptrdiff_t r, std::byte* tile) {
  std::byte* to = tile + 4 * r;
  const auto put_line = [&to](std::uint32_t word) {
    std::memcpy(to, &word, 4);
    to += 64;
  };
  for (std::ptrdiff_t i = 0; i < kTileInputs; i += bits == 8 ? 4 : bits == 4 ? 8 : 16) {
    const std::uint32_t first = load_four(q + i);
    if (bits == 8) {
      put_line(first);
    } else if (bits == 4) {
      put_line(first | load_four(q + i + 4) << 4);
    } else {
      const std::uint32_t four[] = {first, load_four(q + i + 4), load_four(q + i + 8), load_four(q + i + 12)};
      put_line((four[0] & kLow4) | (four[1] & kLow4) << 4);
      put_line((four[2] & kLow4) | (four[3] & kLow4) << 4);
      std::uint32_t high = 0;
      for (int j = 0; j < 4; ++j) high |= (four[j] >> 4 & kLow2) << (2 * j);
      put_line(high);
    }
  }
}

/// The other way.
void get_quants(const std::byte* tile, int bits, std::ptrdiff_t r, std::uint8_t* q) {
  const auto line = [&](std::ptrdiff_t l) {
    return load_four(reinterpret_cast<const std::uint8_t*>(tile) + 64 * l + 4 * r);
  };
  for (std::ptrdiff_t i = 0; i < kTileInputs; i += 4, q += 4) {
    std::uint32_t four = line(bits == 8 ? i / 4 : bits == 4 ? i / 8 : i / 16 * 3 + i % 16 / 8);
    if (bits != 8) four = four >> (i % 8) & kLow4;  // 0 or 4
    if (bits == 6) four |= (line(i / 16 * 3 + 2) >> (i % 16 / 2) & kLow2) << 4;
    std::memcpy(q, &four, 4);
  }
}

}  // namespace

void pack_block(const float* w, std::ptrdiff_t rows, std::ptrdiff_t K, const PackedFormat& f, std::byte* block) {
  std::memset(block, 0, static_cast<std::size_t>(f.block_bytes(K)));
  std::vector<RoundedGroup> groups;
  for (std::ptrdiff_t r = 0; r < rows; ++r) {
    groups.clear();
    for (std::ptrdiff_t k = 0; k < K; k += f.group) {
      groups.push_back(best_group({w + r * K + k, std::min<std::ptrdiff_t>(f.group, K - k), kAllAlike.data()}, f));
    }
    put_groups(groups, K, f, r, block);
  }
}

void put_groups(std::span<const RoundedGroup> groups, std::ptrdiff_t K, const PackedFormat& f, std::ptrdiff_t r,
                std::byte* block) {
  const auto room = static_cast<std::size_t>(K + kTileInputs), group = static_cast<std::size_t>(f.group);
  std::vector<std::uint8_t> q(room);
  std::vector<float> scale(room), minimum(room);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    scale[g] = groups[g].scale;
    minimum[g] = groups[g].minimum;
    for (std::size_t i = 0; i < group; ++i) q[g * group + i] = static_cast<std::uint8_t>(groups[g].q[i]);
  }
  put_packed_row({q.data(), scale.data(), minimum.data()}, K, f, r, block);
}

void put_packed_row(const PackedRow& row, std::ptrdiff_t K, const PackedFormat& f, std::ptrdiff_t r,
                    std::byte* block) noexcept {
  const std::ptrdiff_t padded = f.tiles(K) * kTileInputs, groups = (K + f.group - 1) / f.group;
  std::fill(row.q + K, row.q + padded, std::uint8_t{0});
  std::fill(row.scale + groups, row.scale + padded / f.group, 0.0f);
  std::fill(row.minimum + groups, row.minimum + padded / f.group, 0.0f);
  for (std::ptrdiff_t k = 0; k < padded; k += kTileInputs) {
    std::byte* tile = block + k / kTileInputs * f.tile_bytes();
    put_quants(row.q + k, f.bits, r, tile);
    for (std::ptrdiff_t g = 0; g < kTileInputs / f.group; ++g) {
      const std::ptrdiff_t at = g * kTileOutputs + r, from = k / f.group + g;
      store(row.scale[from], f.scale_type, at, tile + f.quant_bytes());
      if (f.has_minimum) store(row.minimum[from], f.scale_type, at, tile + f.quant_bytes() + f.scales_bytes());
    }
  }
}

void get_packed_row(const std::byte* block, std::ptrdiff_t K, const PackedFormat& f, std::ptrdiff_t r,
                    const PackedRow& row) noexcept {
  for (std::ptrdiff_t t = 0; t < f.tiles(K); ++t) {
    const std::byte* tile = block + t * f.tile_bytes();
    get_quants(tile, f.bits, r, row.q + t * kTileInputs);
    for (std::ptrdiff_t g = 0; g < kTileInputs / f.group; ++g) {
      const std::ptrdiff_t at = g * kTileOutputs + r, to = t * kTileInputs / f.group + g;
      row.scale[to] = widen(tile + f.quant_bytes(), f.scale_type, at);
      if (f.has_minimum) row.minimum[to] = widen(tile + f.quant_bytes() + f.scales_bytes(), f.scale_type, at);
    }
  }
}

}  // namespace kl
