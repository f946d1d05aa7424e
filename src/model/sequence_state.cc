#include "model/sequence_state.h"

#include <algorithm>
#include <new>

#include "kl/error.h"

namespace kl {

SequenceState::Impl::Impl(const ModelArgs& args, DType kda_state, LatentType latents, std::shared_ptr<const int> model)
    : owner(std::move(model)) {
  layers.reserve(args.layer_kinds.size());
  for (const LayerKind kind : args.layer_kinds) {
    if (kind == LayerKind::kKda) {
      layers.emplace_back(std::in_place_type<KdaCache>, args, kda_state);
    } else {
      layers.emplace_back(std::in_place_type<MlaCache>, args, latents);
    }
  }
}

void SequenceState::Impl::reserve(std::int64_t count, std::int64_t tentative) {
  for (LayerCache& cache : layers) {
    if (auto* mla = std::get_if<MlaCache>(&cache)) {
      mla->reserve(count);
    } else {
      std::get<KdaCache>(cache).held.reserve(tentative);
    }
  }
}

SequenceState::SequenceState() = default;
SequenceState::SequenceState(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SequenceState::SequenceState(const SequenceState& other)
    : impl_(other.impl_ ? std::make_unique<Impl>(*other.impl_) : nullptr) {}
SequenceState::SequenceState(SequenceState&&) noexcept = default;
SequenceState& SequenceState::operator=(const SequenceState& other) { return *this = SequenceState(other); }
SequenceState& SequenceState::operator=(SequenceState&&) noexcept = default;
SequenceState::~SequenceState() = default;

SequenceState Internals::state(std::unique_ptr<State> held) { return SequenceState(std::move(held)); }

std::size_t SequenceState::Impl::fixed_bytes() const {
  std::size_t bytes = 0;
  for (const LayerCache& cache : layers)
    if (const auto* kda = std::get_if<KdaCache>(&cache)) bytes += kda->bytes();
  return bytes;
}

void share_latents(const StateImpl& earlier, StateImpl& state) {
  for (std::size_t i = 0; i < state.layers.size(); ++i)
    if (auto* mla = std::get_if<MlaCache>(&state.layers[i])) mla->share(std::get<MlaCache>(earlier.layers[i]));
}

std::int64_t SequenceState::num_tokens() const { return impl_ ? impl_->num_tokens : 0; }

std::int64_t SequenceState::num_tentative() const { return impl_ ? impl_->num_tentative : 0; }

bool SequenceState::is_settled() const {
  if (!impl_) return true;
  return std::none_of(impl_->layers.begin(), impl_->layers.end(), [](const LayerCache& cache) {
    const auto* kda = std::get_if<KdaCache>(&cache);
    return kda != nullptr && kda->held.kept;
  });
}

void SequenceState::keep(std::int64_t count) {
  if (count < 0 || count > num_tentative())
    throw Error(ErrorCode::kInvalidArgument, "keep: expected 0 to " + std::to_string(num_tentative()) +
                                                 " tentative tokens, got " + std::to_string(count));
  if (num_tentative() == 0) return;
  impl_->num_tokens += count;
  impl_->num_tentative = 0;
  for (LayerCache& cache : impl_->layers) {
    if (auto* mla = std::get_if<MlaCache>(&cache)) {
      mla->truncate(impl_->num_tokens);
    } else {
      std::get<KdaCache>(cache).keep(count);
    }
  }
}

std::size_t SequenceState::bytes() const {
  if (!impl_) return 0;
  std::size_t bytes = 0;
  impl_->for_each_block([&](const void*, std::size_t size) { bytes += size; });
  return bytes;
}

void SequenceState::repeat_to(std::int64_t num_tokens) {
  const std::int64_t present = this->num_tokens(), missing = num_tokens - present;
  if (missing < 0 || (missing > 0 && present == 0))
    throw Error(ErrorCode::kInvalidArgument, "repeat_to: expected a state of 1 to " + std::to_string(num_tokens) +
                                                 " tokens, got one of " + std::to_string(present));
  if (num_tentative() > 0)
    throw Error(ErrorCode::kInvalidArgument, "repeat_to: expected a state after keep(), got one with tentative tokens");
  if (missing == 0) return;
  try {
    impl_->reserve(missing, 0);
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kOutOfMemory,
                "latent cache: expected memory for " + std::to_string(missing) + " more tokens, got none");
  }
  for (LayerCache& cache : impl_->layers)
    if (auto* mla = std::get_if<MlaCache>(&cache)) mla->repeat(missing);
  impl_->num_tokens = num_tokens;
}

namespace {

/// The cache of a layer, nullptr if the layer is of the other kind.  Throws Error if there is no such layer.
template <class Cache>
const Cache* cache_of(const StateImpl* impl, int layer) {
  if (impl == nullptr || layer < 0 || static_cast<std::size_t>(layer) >= impl->layers.size())
    throw Error(ErrorCode::kInvalidArgument, "layer: expected one of the model, got " + std::to_string(layer));
  return std::get_if<Cache>(&impl->layers[static_cast<std::size_t>(layer)]);
}

/// The same for what KDA layers remember.  Throws Error if that is not up to date.
const KdaCache* settled_cache(const SequenceState& state, const StateImpl* impl, int layer) {
  const auto* kda = cache_of<KdaCache>(impl, layer);
  if (kda != nullptr && !state.is_settled())
    throw Error(ErrorCode::kInvalidArgument,
                "state: expected one after Model::settle(), got one with kept tokens to write");
  return kda;
}

/// Columns [first, first + count) of the first num_tokens cached rows.
std::vector<float> columns(const MlaCache* cache, std::int64_t num_tokens, std::ptrdiff_t first, std::ptrdiff_t count) {
  std::vector<float> out;
  if (cache == nullptr) return out;
  out.reserve(static_cast<std::size_t>(num_tokens * count));
  std::vector<float> row(static_cast<std::size_t>(cache->format().floats()));
  for (std::int64_t t = 0; t < num_tokens; ++t) {
    reference::kernels.load_latents(cache->format(), cache->row(t), 1, row.data());
    out.insert(out.end(), row.begin() + first, row.begin() + first + count);
  }
  return out;
}

}  // namespace

std::vector<float> SequenceState::kda_state(int layer) const {
  const auto* kda = settled_cache(*this, impl_.get(), layer);
  return kda ? kda->S_hkv() : std::vector<float>{};
}

std::vector<float> SequenceState::conv_state(int layer) const {
  const auto* kda = settled_cache(*this, impl_.get(), layer);
  return kda ? std::vector<float>(kda->conv.data(), kda->conv.data() + kda->conv.size()) : std::vector<float>{};
}

std::vector<float> SequenceState::mla_latent(int layer) const {
  const auto* mla = cache_of<MlaCache>(impl_.get(), layer);
  return columns(mla, num_tokens(), 0, mla ? mla->format().R : 0);
}

std::vector<float> SequenceState::mla_k_pe(int layer) const {
  const auto* mla = cache_of<MlaCache>(impl_.get(), layer);
  return columns(mla, num_tokens(), mla ? mla->format().R : 0, mla ? mla->format().P : 0);
}

}  // namespace kl
