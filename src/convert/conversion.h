#pragma once
#include <filesystem>
#include <string>

#include "convert/packed_model.h"
#include "kl/convert.h"
#include "kl/quantize.h"
#include "packing/predicates.h"

namespace kl {

/// What becomes of the matrices of a kKl target that are not quantised yet.
struct Packing {
  QuantRule rule;  ///< for all that quant_predicate() names ...
  const PackedModel* chosen =
      nullptr;  ///< ... unless the modules are here, packed already; then all others keep their type
};

/// convert(), and with `packing` (null: matrices keep their type) what `kl quantize` does.
ConvertResult convert_model(const std::filesystem::path& from, const std::filesystem::path& to,
                            const ConvertOptions& options, const Packing* packing);

/// quantize() with any packing; threads, shards and progress come from `options`, `command` is for the model card.
QuantizeResult quantize_by(const std::filesystem::path& from, const std::filesystem::path& to,
                           const QuantizeOptions& options, const Packing& packing, std::string command);

/// Throws Error(kInvalidArgument) if `to` is `from` or lies in it.
void check_folders(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace kl
