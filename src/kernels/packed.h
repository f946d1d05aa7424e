#pragma once
// How quantised weights and the activations they meet lie in memory.  Part of the contract of kernels.h.
#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace kl {

/// Outputs and inputs of one tile of packed weights.
inline constexpr std::ptrdiff_t kTileOutputs = 16, kTileInputs = 64;

/// Inputs that share a scale in a quantised activation row, whatever the group of the weights.
inline constexpr std::ptrdiff_t kActivationGroup = 32;

/// A group-quantised weight format:
///
///     w = scale q + minimum,   q an unsigned number of `bits` bits
///
/// scale, and minimum where the format keeps one, are shared by `group` neighbouring inputs of one output; without one
/// the minimum is -2^(bits-1) scale.  MLX affine (biases are the minima) and GGUF's blocks map onto this without loss.
///
/// A matrix [N, K] is blocks of 16 outputs, a block is tiles of 64 inputs in ascending order, a tile is whole cache
/// lines in the order in which a kernel reads them (RAM is fastest as one ascending stream, docs/kernels.md):
///
///     4 bits  8 lines; byte 4r + j of line l: output r, input 8l + j (low half) and input 8l + 4 + j (high half)
///     6 bits  12 lines, three for 16 inputs: the low 4 bits as above in two, then byte 4r + j has the high 2 bits of
///             output r, inputs j, 4 + j, 8 + j, 12 + j, the first one lowest
///     8 bits  16 lines; byte 4r + j of line l: output r, input 4l + j
///     then    scales [64 / group][16], then minima [64 / group][16], if kept
///
/// Outputs beyond N and inputs beyond K have scale and minimum 0.
struct PackedFormat {
  std::uint8_t bits = 4;           // 4, 6 or 8
  std::uint8_t group = 32;         // 16, 32 or 64
  bool has_minimum = false;        // always true for groups of 64, so that a tile is whole lines
  DType scale_type = DType::kF16;  // of scales and minima

  /// Whether there is such a format.  Groups of 16 are those of GGUF only: Q2_K, Q3_K (4 bits) and Q6_K (6 bits).
  constexpr bool exists() const {
    if (group == 16) return scale_type == DType::kF32 && (bits == 4 || (bits == 6 && !has_minimum));
    return (bits == 4 || bits == 8) && (group == 32 || (group == 64 && has_minimum));
  }
  /// Bytes of the numbers of a tile.
  constexpr std::ptrdiff_t quant_bytes() const { return kTileOutputs * kTileInputs * bits / 8; }
  /// Bytes of the scales of a tile; its minima take as many.
  constexpr std::ptrdiff_t scales_bytes() const {
    return kTileInputs / group * kTileOutputs * static_cast<std::ptrdiff_t>(size_of(scale_type));
  }
  /// Bytes of a tile; tiles of a block; bytes of a block.
  constexpr std::ptrdiff_t tile_bytes() const { return quant_bytes() + (has_minimum ? 2 : 1) * scales_bytes(); }
  constexpr std::ptrdiff_t tiles(std::ptrdiff_t K) const { return (K + kTileInputs - 1) / kTileInputs; }
  constexpr std::ptrdiff_t block_bytes(std::ptrdiff_t K) const { return tiles(K) * tile_bytes(); }
  /// Bytes of a matrix.
  constexpr std::ptrdiff_t matrix_bytes(std::ptrdiff_t N, std::ptrdiff_t K) const {
    return (N + kTileOutputs - 1) / kTileOutputs * block_bytes(K);
  }
  bool operator==(const PackedFormat&) const = default;
};

/// A row x [K] of activations in 8 bits: x = scale q, q in [-127, 127], one scale for 32 inputs.
///
/// Layout, with K rounded up to a multiple of 64 and G groups of 32: q [K] int8, scale [G] f32, zero [G] int32
/// (-8 times the sum of a group's q: what a symmetric 4-bit weight's offset contributes), sum [G] f32 (the sum of a group
/// of x as quantised, for minima), sum of two groups [G / 2] f32, zero of each 16 [2 G] int32 (-8 times the sum of 16 q, for
/// weights in groups of 16).
struct ActivationRow {
  /// K in whole tiles; groups of such a row; where each part of the row begins, in bytes; bytes of the row, whole lines.
  static constexpr std::ptrdiff_t padded(std::ptrdiff_t K) { return (K + kTileInputs - 1) / kTileInputs * kTileInputs; }
  static constexpr std::ptrdiff_t groups(std::ptrdiff_t K) { return padded(K) / kActivationGroup; }
  static constexpr std::ptrdiff_t scale_at(std::ptrdiff_t K) { return padded(K); }
  static constexpr std::ptrdiff_t zero_at(std::ptrdiff_t K) { return padded(K) + 4 * groups(K); }
  static constexpr std::ptrdiff_t sum_at(std::ptrdiff_t K) { return padded(K) + 8 * groups(K); }
  static constexpr std::ptrdiff_t pair_sum_at(std::ptrdiff_t K) { return padded(K) + 12 * groups(K); }
  static constexpr std::ptrdiff_t zero16_at(std::ptrdiff_t K) { return padded(K) + 14 * groups(K); }
  static constexpr std::ptrdiff_t bytes(std::ptrdiff_t K) { return (padded(K) + 22 * groups(K) + 63) / 64 * 64; }
};

/// Below this largest magnitude a group of activations counts as zero: 127 / max must stay finite.
inline constexpr float kSmallestActivation = 0x1p-100f;

}  // namespace kl
