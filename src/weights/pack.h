#pragma once
#include <cstddef>

#include "kernels/packed.h"

namespace kl {

/// Quantises up to 16 rows of weights into one block of a packed matrix.
///
/// Shapes    w: [rows, K], rows <= 16; block: format.block_bytes(K).
/// Method    scale, and minimum where the format has one, of each group minimise the squared error over a few candidates:
///           rounding for a given scale, then the least-squares scale for these numbers.  At 8 bits the plain choice
///           (range / 255, largest / 127) is as good.
/// REQUIRES: finite weights whose scales fit the format's type.
void pack_block(const float* w, std::ptrdiff_t rows, std::ptrdiff_t K, const PackedFormat& format, std::byte* block);

}  // namespace kl
