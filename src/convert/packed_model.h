#pragma once
// A quantised model in memory, before it is written.
#include <map>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/packed.h"

namespace kl {

/// A module's matrices, one or one per head, packed in one format.
struct PackedTensor {
  PackedFormat format;
  std::vector<AlignedBuffer> matrices;
};

/// Modules that are quantised, by name, as "model.layers.0.self_attn.q_proj"; all others keep their type.
using PackedModel = std::map<std::string, PackedTensor>;

}  // namespace kl
