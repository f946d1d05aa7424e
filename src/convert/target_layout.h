#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "convert/source_model.h"
#include "kl/convert.h"

namespace kl {

/// A tensor of the target before its numbers are encoded: what it is called, and whose rows it is made of.
struct TargetModule {
  std::string name;                 ///< "model.layers.0.self_attn.q_proj.weight"
  std::vector<std::int64_t> shape;  ///< of the numbers
  std::vector<SourceMatrix> parts;  ///< one below the other: experts, heads
  const TensorRule* rule = nullptr;

  std::int64_t size() const;  ///< numbers in it
};

/// Everything a model consists of in the names and shapes of `format`, in the order of the layers.  `source` must outlive it.
std::vector<TargetModule> target_modules(SourceModel& source, TargetFormat format);

}  // namespace kl
