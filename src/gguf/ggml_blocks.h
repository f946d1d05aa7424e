#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/dtype.h"

namespace kl {

/// What the blocks of a quantised type mean: numbers in groups,
///
///     w = scale q + minimum,  or  w = scale (q - 2^(bits - 1))  where there is no minimum.
///
/// Source    ggml-quants.c, dequantize_row_*; layouts in docs/formats.md.
struct GgmlBlocks {
  std::string_view name;  ///< of the type, as ggml spells it
  std::uint8_t bits;      ///< of q: 4, 6 or 8, which may be more than the file spends
  std::uint8_t group;     ///< numbers that share a scale: 16 or 32
  bool has_minimum = false;
  DType scale_type;  ///< a type that holds every scale and minimum

  /// One block.   Shapes  q: [values of a block]   scale, minimum: [values / group]; minimum only where there are any.
  /// Errors    none: any bytes are numbers (NaN and infinity where a scale is).
  void (*unpack)(const std::byte* block, std::uint8_t* q, float* scale, float* minimum) noexcept;
};

/// Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS or MXFP4; nullptr for any other name.
const GgmlBlocks* find_ggml_blocks(std::string_view name);

/// Widens blocks to f32.
///
/// Shapes    n values, whole blocks; bytes: n / values of them, one after the other, at any alignment.
/// Numerics  each value is computed in f32 in the order of ggml's reference decoders, so the bits are theirs.
void decode_blocks(const GgmlBlocks& blocks, const std::byte* bytes, std::int64_t n, float* out) noexcept;

}  // namespace kl
