#include "layers/kda_cache.h"

#include <algorithm>
#include <cstring>

namespace kl {

KdaHeldTokens::KdaHeldTokens(const KdaHeldTokens& other) : H_(other.H_), K_(other.K_) {
  reserve(other.count);
  std::copy_n(other.buffer_.data(), other.count * row_floats(H_, K_), buffer_.data());
  count = other.count;
  kept = other.kept;
}

KdaHeldTokens& KdaHeldTokens::operator=(KdaHeldTokens other) noexcept {
  std::swap(H_, other.H_);
  std::swap(K_, other.K_);
  std::swap(count, other.count);
  std::swap(kept, other.kept);
  std::swap(buffer_, other.buffer_);
  return *this;
}

void KdaHeldTokens::reserve(std::ptrdiff_t rows) {
  const auto needed = static_cast<std::size_t>(rows * row_floats(H_, K_));
  if (needed <= buffer_.size()) return;
  AlignedBuffer larger(needed);
  std::copy_n(buffer_.data(), count * row_floats(H_, K_), larger.data());
  buffer_ = std::move(larger);
}

KdaHeadInputs KdaHeldTokens::rows(std::ptrdiff_t h, std::ptrdiff_t t) {
  const std::ptrdiff_t stride = row_floats(H_, K_), C = H_ * K_;
  float* row = buffer_.data() + t * stride;
  float* head = row + h * K_;
  return {head, head + C, head + 2 * C, head + 3 * C, stride, row + 4 * C + h, stride};
}

KdaCache::KdaCache(const ModelArgs& args, DType type)
    : num_heads(args.kda_num_heads),
      K(args.kda_head_dim),
      V(args.kda_head_dim),
      W(args.kda_conv_size),
      S_type(type),
      S(static_cast<std::size_t>(num_heads * head_bytes()) / sizeof(float)),
      conv(static_cast<std::size_t>(3 * (W - 1) * num_heads * K)),
      held(num_heads, K) {}

KdaHeadMemory KdaCache::memory_of(std::ptrdiff_t head) {
  KdaHeadMemory m{.S = reinterpret_cast<std::byte*>(S.data()) + head * head_bytes(),
                  .S_type = S_type,
                  .conv = {},
                  .conv_stride = num_heads * K};
  if (W > 1)  // a convolution of one tap remembers nothing: there is no buffer to point into
    for (std::ptrdiff_t stream = 0; stream < 3; ++stream)
      m.conv[stream] = conv.data() + stream * (W - 1) * m.conv_stride + head * K;
  return m;
}

KdaHeadMemory KdaCache::copy_of(const KdaHeadMemory& memory, float* scratch) const noexcept {
  KdaHeadMemory copy{.S = scratch, .S_type = S_type, .conv = {}, .conv_stride = K};
  std::memcpy(copy.S, memory.S, static_cast<std::size_t>(head_bytes()));
  for (std::ptrdiff_t stream = 0; stream < 3; ++stream) {
    copy.conv[stream] = scratch + kda_state_elements(K, V) + stream * (W - 1) * K;
    for (std::ptrdiff_t j = 0; j < W - 1; ++j)
      std::copy_n(memory.conv[stream] + j * memory.conv_stride, K, copy.conv[stream] + j * K);
  }
  return copy;
}

std::vector<float> KdaCache::S_hkv() const {
  std::vector<float> out;
  out.reserve(static_cast<std::size_t>(num_heads * K * V));
  const std::ptrdiff_t head = kda_state_elements(K, V);
  std::vector<float> all(static_cast<std::size_t>(num_heads * head));
  reference::kernels.weight_row({S.data(), S_type, 1, num_heads * head, num_heads * head}, 0, all.data());
  for (std::ptrdiff_t h = 0; h < num_heads; ++h)
    for (std::ptrdiff_t k = 0; k < K; ++k)
      for (std::ptrdiff_t v = 0; v < V; ++v)
        out.push_back(all[static_cast<std::size_t>(h * head + (v / kKdaSlice * K + k) * kKdaSlice + v % kKdaSlice)]);
  return out;
}

}  // namespace kl
