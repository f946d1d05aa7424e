#include "weights/pack.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "weights/group_fit.h"
#include "weights/widen.h"

namespace kl {
namespace {

constexpr std::array<float, kMaxGroup> kAllAlike = [] {
  std::array<float, kMaxGroup> ones{};
  for (float& one : ones) one = 1;
  return ones;
}();

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

}  // namespace kl
