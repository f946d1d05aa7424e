#pragma once
#include <span>
#include <string>
#include <vector>

#include "kl/model_args.h"
#include "weights/weights.h"

namespace kl {

/// A module whose weight is a matrix, or one matrix per head.
struct MatrixModule {
  std::string name;  ///< as in a folder of `kl quantize`: "model.layers.0.self_attn.q_proj"
  std::span<WeightMatrix> matrices;
};

/// The modules with matrices in the order of the layers; the spans point into `weights`.
/// Throws Error(kUnsupported) if one is packed already.
std::vector<MatrixModule> matrix_modules(const ModelArgs& args, ModelWeights& weights);

}  // namespace kl
