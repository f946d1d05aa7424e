#pragma once
#include <cstddef>
#include <span>

#include "kernels/packed.h"
#include "weights/encodings/stored_matrix.h"

namespace kl {

/// Quantises up to 16 rows of weights into one block of a packed matrix.
///
/// Shapes    w: [rows, K], rows <= 16; block: format.block_bytes(K).
/// Method    scale, and minimum where the format has one, of each group minimise the squared error over a few candidates:
///           rounding for a given scale, then the least-squares scale for these numbers.  At 8 bits the plain choice
///           (range / 255, largest / 127) is as good.
/// REQUIRES: finite weights whose scales fit the format's type.
void pack_block(const float* w, std::ptrdiff_t rows, std::ptrdiff_t K, const PackedFormat& format, std::byte* block);

/// Puts numbers that are quantised already into row r < 16 of a block of a packed matrix.
///
/// Shapes    row: [K] and its groups; block: format.block_bytes(K).
/// Numerics  scales and minima are rounded to the format's type: exact if the encoding keeps its promise.
/// REQUIRES: row.q, row.scale and row.minimum have room for one tile more, which is overwritten: inputs beyond K get zeros.
void put_packed_row(const PackedRow& row, std::ptrdiff_t K, const PackedFormat& format, std::ptrdiff_t r,
                    std::byte* block) noexcept;

/// The other way: the numbers of row r < 16 of a block.  Minima are left alone where the format keeps none.
///
/// Shapes    as put_packed_row(), and room for one tile more too.
void get_packed_row(const std::byte* block, std::ptrdiff_t K, const PackedFormat& format, std::ptrdiff_t r,
                    const PackedRow& row) noexcept;

/// The same with knowledge of the inputs: what one weight is rounded by, the weights after it make up for.
///
///     e_j = (w_j - rounded w_j) / U_jj,   w_k -= e_j U_jk  for k > j,      loss = sum of e_j^2
///
/// Shapes    w: [rows, K], changed.   U: [K, K], upper, U^T U = (sum of x x^T over the inputs x)^-1.
/// Method    scale and minimum of a group minimise sum (w_j - rounded w_j)^2 / U_jj^2 when it begins, and then stay.
/// Returns   the loss: sum over rows of sum over x of (w x - rounded w x)^2.
/// Source    Frantar et al., GPTQ (2022).
double pack_block_for(std::span<const float> U, float* w, std::ptrdiff_t rows, std::ptrdiff_t K,
                      const PackedFormat& format, std::byte* block);

}  // namespace kl
