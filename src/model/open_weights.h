#pragma once
#include "kernels/kernels.h"
#include "kl/model.h"
#include "weights/weights.h"

namespace kl {

/// A model of weights in memory, computed with the given kernels, which must outlive it.  `weights.storage` is kept; what
/// else the matrices point to must outlive the model too.
Model open_weights(const ModelArgs& args, const ModelWeights& weights, const ModelOptions& options,
                   const Kernels& kernels);

}  // namespace kl
