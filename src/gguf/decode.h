#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kl {

/// Widens blocks of a GGUF tensor to f32.
///
/// Shapes    n values, whole blocks; blocks: n / values of a block of them, one after the other, at any alignment.
/// Numerics  each value is computed in f32 in the order of operations of ggml's reference decoders, so the bits are theirs.
/// Errors    none: any bytes are numbers (NaN and infinity where a scale is).
/// Source    ggml-quants.c, dequantize_row_*; layouts in docs/formats.md.
using DecodeBlocks = void (*)(const std::byte* blocks, std::int64_t n, float* out);

/// The decoder of the type that ggml calls `name`: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K,
/// Q6_K, IQ4_NL, IQ4_XS or MXFP4; nullptr for any other.
DecodeBlocks find_decoder(std::string_view name);

/// The 16 values that a number of IQ4_NL and IQ4_XS stands for.
extern const std::int8_t kIq4Values[16];

/// The 16 values that a number of MXFP4 stands for, doubled.
extern const std::int8_t kMxfp4Values[16];

/// Scale and minimum of sub-block j of a Q4_K or Q5_K block, as 6-bit numbers, from its 12 bytes of scales.
struct KScale {
  std::uint8_t scale, minimum;
};
KScale k_scale(const std::uint8_t* scales, int j) noexcept;

/// Scale j of a Q3_K block, -32 to 31, from its 12 bytes of scales: one for 16 numbers.
int q3_k_scale(const std::uint8_t* scales, int j) noexcept;

/// Scale of sub-block j of an IQ4_XS block, -32 to 31.
int iq4_xs_scale(const std::uint8_t* block, int j) noexcept;

/// Half of what the scale byte of an MXFP4 block means, 2^(e - 127), because the table is doubled.
float half_of_e8m0(std::uint8_t e) noexcept;

}  // namespace kl
