#pragma once
#include <filesystem>
#include <optional>

#include "kl/convert.h"
#include "weights/predicates.h"

namespace kl {

/// convert(), and with `packing` what `kl quantize` does: matrices of kKl that are not quantised yet get that many bits.
ConvertResult convert_model(const std::filesystem::path& from, const std::filesystem::path& to,
                            const ConvertOptions& options, std::optional<QuantRule> packing);

}  // namespace kl
