#pragma once
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "kl/model.h"
#include "layers/delta_attention.h"
#include "layers/mla_cache.h"

namespace kl {

/// What one layer remembers of a sequence.
using LayerCache = std::variant<KdaCache, MlaCache>;

/// One LayerCache per layer; copying it is taking a snapshot (KDA states copied, full latent blocks shared).
///
/// The parts can only be advanced together, by KimiLinearModel: latents are never continued past a KDA state that has
/// not seen the same tokens.
struct SequenceState::Impl {
  /// `owner` is unique to the model: only that one may advance the state.
  Impl(const ModelArgs& args, DType kda_state, LatentType latents, std::shared_ptr<const int> owner);

  /// What `layers` remember after num_tokens tokens.
  Impl(std::shared_ptr<const int> model, std::vector<LayerCache> caches, std::int64_t tokens)
      : owner(std::move(model)), layers(std::move(caches)), num_tokens(tokens) {}

  std::shared_ptr<const int> owner;
  std::vector<LayerCache> layers;
  std::int64_t num_tokens = 0;
};

}  // namespace kl
