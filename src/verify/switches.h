#pragma once
#include <functional>
#include <string>
#include <vector>

#include "kl/model.h"
#include "kl/model_args.h"

namespace kl {

/// One way to do what implementations do differently.
struct Switch {
  std::string flag;  ///< as `kl logits` takes it: "--kv-a-eps 1e-5"
  std::function<void(ModelOptions&)> apply;
};

/// Switches of which at most one can be in force.
using SwitchGroup = std::vector<Switch>;

/// What may explain a difference, for this model and beside the options already in force: conventions of other programs first
/// (docs/numerics.md lists them), then what kl itself computes in fewer bits.
std::vector<SwitchGroup> switches_for(const ModelArgs& args, bool has_quantised_weights, const ModelOptions& options);

}  // namespace kl
