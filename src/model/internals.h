#pragma once
// What the library sees of SequenceState and Model and their users do not.
#include <memory>

#include "kl/model.h"
#include "layers/context.h"
#include "weights/weights.h"

namespace kl {

/// The friend of both classes.
struct Internals {
  using State = SequenceState::Impl;  ///< model/sequence_state.h

  /// What a state holds.  REQUIRES: state.has_value().
  static State& of(SequenceState& state) { return *state.impl_; }
  static const State& of(const SequenceState& state) { return *state.impl_; }
  static SequenceState state(std::unique_ptr<State> held);

  /// A model of weights in memory.  `weights.storage` is kept; what else the matrices point to must outlive the model,
  /// and so must `products` (null: nobody listens).
  static Model open(const ModelArgs& args, const ModelWeights& weights, const ModelOptions& options,
                    ProductObserver* products = nullptr);
};

using StateImpl = Internals::State;

}  // namespace kl
