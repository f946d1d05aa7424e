#pragma once
#include "kl/model.h"
#include "layers/context.h"
#include "weights/weights.h"

namespace kl {

/// A model of weights in memory.  `weights.storage` is kept; what else the matrices point to must outlive the model, and
/// so must `products` (null: nobody listens).
Model open_weights(const ModelArgs& args, const ModelWeights& weights, const ModelOptions& options,
                   ProductObserver* products = nullptr);

}  // namespace kl
