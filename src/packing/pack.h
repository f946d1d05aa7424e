#pragma once
#include <cstddef>
#include <span>

#include "encodings/stored_matrix.h"
#include "kernels/packed.h"
#include "packing/group_fit.h"

namespace kl {

/// Quantises up to 16 rows of weights into one block of a packed matrix.
///
/// Shapes    w: [rows, K], rows <= 16; block: format.block_bytes(K).
/// Method    scale, and minimum where the format has one, of a group minimise the squared error over a few candidates:
///           rounding for a given scale, then the least-squares scale for these numbers.  At 8 bits the plain choice
///           (range / 255, largest / 127) is as good.
/// REQUIRES: finite weights whose scales fit the format's type.
void pack_block(const float* w, std::ptrdiff_t rows, std::ptrdiff_t K, const PackedFormat& format, std::byte* block);

/// Puts groups that are rounded already into row r < 16 of such a block.   Shapes  groups: [ceil(K / format.group)].
void put_groups(std::span<const RoundedGroup> groups, std::ptrdiff_t K, const PackedFormat& format, std::ptrdiff_t r,
                std::byte* block);

/// Puts numbers that are quantised already into row r < 16 of a block of a packed matrix.
///
/// Shapes    row: [K] and its groups; block: format.block_bytes(K).
/// Numerics  scales and minima are rounded to the format's type: exact if the encoding keeps its promise.
/// REQUIRES: row.q, row.scale and row.minimum have room for one tile more; inputs beyond K get zeros there.
void put_packed_row(const PackedRow& row, std::ptrdiff_t K, const PackedFormat& format, std::ptrdiff_t r,
                    std::byte* block) noexcept;

/// The other way: the numbers of row r < 16 of a block.  Minima are left alone where the format keeps none.
///
/// Shapes    as put_packed_row(), and room for one tile more too.
void get_packed_row(const std::byte* block, std::ptrdiff_t K, const PackedFormat& format, std::ptrdiff_t r,
                    const PackedRow& row) noexcept;

}  // namespace kl
