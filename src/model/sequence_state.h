#pragma once
#include <memory>
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

  std::shared_ptr<const int> owner;
  std::vector<LayerCache> layers;
  std::int64_t num_tokens = 0;

  std::size_t fixed_bytes() const;  ///< what does not grow with the text: KDA states

  /// Calls f(start, bytes) for every piece of memory held; copies of a state have their full latent blocks in common.
  template <class F>
  void for_each_block(F&& f) const {
    for (const LayerCache& cache : layers) {
      if (const auto* kda = std::get_if<KdaCache>(&cache)) {
        for (const AlignedBuffer* buffer : {&kda->S, &kda->conv})
          f(static_cast<const void*>(buffer->data()), buffer->size() * sizeof(float));
      } else {
        std::get<MlaCache>(cache).for_each_block(f);
      }
    }
  }
};

/// Makes `state` use the full latent blocks of `earlier` where both hold the same tokens' latents.
/// REQUIRES: the text `earlier` has read is the beginning of the one `state` has read, in the same forms of MLA.
void share_latents(const SequenceState::Impl& earlier, SequenceState::Impl& state);

}  // namespace kl
