#pragma once
#include <string>

#include "model/memory_plan.h"
#include "weights/weights.h"

namespace kl {

/// Model::fingerprint(), computed anew.
///
/// Weights   of every matrix its shape, type and one page from its middle (all of it, if it is smaller), of experts those of
///           two per layer, and all of every short vector: about a thousand pages at 48B, of matrices that the next step
///           reads in any case.
std::string fingerprint_of(const ModelArgs& args, const ModelWeights& weights, const ModelOptions& options,
                           const ModelChoices& choices, const char* isa);

}  // namespace kl
