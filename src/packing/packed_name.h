#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "encodings/stored_matrix.h"
#include "kernels/packed.h"
#include "packing/predicates.h"

namespace kl {

/// How a file names a packed matrix: the module's name, a dot, and the format, as in "lm_head.q4_g32_f16".  The tensor is U8
/// [blocks, tiles, tile bytes], with the number of matrices in front where one tensor holds several.
///
///     q4_g32_f16     4 bits, groups of 32 with an f16 scale, minimum -8 scale
///     q8_g64m_bf16   8 bits, groups of 64 with scale and minimum in bf16
std::string packed_suffix(const PackedFormat& format);

/// The same of any form in memory: that, or "BF16" and the like.
std::string held_text(const HeldForm& form);

/// The format a suffix names, or nothing.
std::optional<PackedFormat> parse_packed_suffix(std::string_view suffix);

/// Shape of the tensor that holds `count` matrices [N, K].
std::vector<std::int64_t> packed_shape(const PackedFormat& format, std::int64_t count, std::int64_t N, std::int64_t K);

/// The format kl writes for a rule: groups of 32 are symmetric, groups of 64 keep a minimum; scales are f16.
PackedFormat packed_format(const QuantRule& rule);

/// Version of the packed folder format that this kl writes, and the newest it reads.
inline constexpr int kPackedVersion = 1;

}  // namespace kl
