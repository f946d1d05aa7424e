#pragma once
// A quantised model in memory, before it is written.
#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "kl/quantize.h"
#include "weights/weights.h"

namespace kl {

/// A module's matrices, one or one per head, packed in one format.
struct PackedTensor {
  PackedFormat format;
  std::vector<AlignedBuffer> matrices;
};

/// Modules that are quantised, by name, as "model.layers.0.self_attn.q_proj"; all others keep their type.
using PackedModel = std::map<std::string, PackedTensor>;

/// A module whose weight is a matrix, or one matrix per head.
struct MatrixModule {
  std::string name;
  std::span<WeightMatrix> matrices;
};

/// The modules with matrices in the order of the layers, in the released names; the spans point into `weights`.
/// Throws Error(kUnsupported) if one is packed already.
std::vector<MatrixModule> matrix_modules(const ModelArgs& args, ModelWeights& weights);

/// quantize() with the choice already made.  config.json lists the modules that are not as `options` say.
QuantizeResult write_packed_model(const std::filesystem::path& from, const std::filesystem::path& to,
                                  const PackedModel& packed, const QuantizeOptions& options);

/// For quantize(): throws Error(kInvalidArgument) if `to` is `from` or lies in it.
void check_folders(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace kl
