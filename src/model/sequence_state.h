#pragma once
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "layers/delta_attention.h"
#include "layers/mla_cache.h"
#include "model/internals.h"

namespace kl {

/// Copies of a state share latents in blocks of so many tokens.
inline constexpr std::int64_t kLatentBlock = kKeyBlock;

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

  /// Makes room for `count` more tokens of which the last `tentative` may be taken back.  May throw std::bad_alloc;
  /// nothing that can be seen is changed then.
  void reserve(std::int64_t count, std::int64_t tentative);

  std::shared_ptr<const int> owner;
  std::vector<LayerCache> layers;
  std::int64_t num_tokens = 0;     // without tentative ones
  std::int64_t num_tentative = 0;  // read after those; MLA caches hold their latents, KDA caches their inputs

  std::size_t fixed_bytes() const;  ///< what does not grow with the text: KDA layers

  /// Calls f(start, bytes) for every piece of memory held; copies of a state have their full latent blocks in common.
  template <class F>
  void for_each_block(F&& f) const {
    for (const LayerCache& cache : layers) std::visit([&](const auto& c) { c.for_each_block(f); }, cache);
  }
};

/// Makes `state` use the full latent blocks of `earlier` where both hold the same tokens' latents.
/// REQUIRES: the text `earlier` has read is the beginning of the one `state` has read, in the same forms of MLA.
void share_latents(const StateImpl& earlier, StateImpl& state);

}  // namespace kl
