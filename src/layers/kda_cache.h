#pragma once
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/kernels.h"
#include "kl/model_args.h"

namespace kl {

/// What one head of a KDA layer reads of some tokens.  Rows lie `stride` floats apart, numbers of b `b_stride`.
struct KdaHeadInputs {
  float *q, *k, *v;  // [T, K] projections before convolution
  float* f;          // [T, K] forget-gate logits
  std::ptrdiff_t stride;
  float* b;  // [T] write-strength logits
  std::ptrdiff_t b_stride;

  /// The tokens from t on.
  KdaHeadInputs from(std::ptrdiff_t t) const {
    return {q + t * stride, k + t * stride, v + t * stride, f + t * stride, stride, b + t * b_stride, b_stride};
  }
};

/// The memory of one head: a KdaCache's own, or a copy to try tokens on.
struct KdaHeadMemory {
  void* S;  // [ceil(V/32), K, 32] of S_type
  DType S_type;
  float* conv[3];  // [W-1, K] each, rows conv_stride apart
  std::ptrdiff_t conv_stride;
};

/// Inputs of tokens that a KDA layer has read without writing them into its memory: 4 H K + H floats per token.
/// Writing cannot be undone, and this is far less than a copy of S.  Copying copies the rows there are, not the room.
class KdaHeldTokens {
 public:
  /// No tokens, and no room for any.
  KdaHeldTokens(std::ptrdiff_t num_heads, std::ptrdiff_t K) : H_(num_heads), K_(K) {}
  KdaHeldTokens(const KdaHeldTokens& other);  ///< may throw std::bad_alloc
  KdaHeldTokens(KdaHeldTokens&&) noexcept = default;
  KdaHeldTokens& operator=(KdaHeldTokens) noexcept;

  /// Makes room for `count` rows in all; may throw std::bad_alloc, changing nothing then.
  void reserve(std::ptrdiff_t count);

  /// Rows of head h from row t on.  REQUIRES: reserve()d.
  KdaHeadInputs rows(std::ptrdiff_t h, std::ptrdiff_t t);

  std::size_t bytes() const { return buffer_.size() * sizeof(float); }  ///< of the room, used or not
  const void* data() const { return buffer_.data(); }                   ///< where it begins

  /// Floats of one token.
  static constexpr std::ptrdiff_t row_floats(std::ptrdiff_t H, std::ptrdiff_t K) { return 4 * H * K + H; }

  std::ptrdiff_t count = 0;  ///< rows present
  bool kept = false;         ///< they are true: the next pass writes them into the memory for good and drops them

 private:
  std::ptrdiff_t H_, K_;
  AlignedBuffer buffer_;  // rows of {q [H*K], k [H*K], v [H*K], f [H*K], b [H]}
};

/// What a KDA layer remembers of one sequence.  Fixed size, whatever the sequence's length.
struct KdaCache {
  KdaCache(const ModelArgs& args, DType S_type);  ///< an empty memory: all zeros; S_type is kF32 or kBF16

  /// A memory with these contents, laid out and sized as those of an empty one.
  KdaCache(const KdaCache& empty, AlignedBuffer S_now, AlignedBuffer conv_now)
      : num_heads(empty.num_heads),
        K(empty.K),
        V(empty.V),
        W(empty.W),
        S_type(empty.S_type),
        S(std::move(S_now)),
        conv(std::move(conv_now)),
        held(num_heads, K) {}

  std::ptrdiff_t num_heads, K, V, W;
  DType S_type;
  AlignedBuffer S;     // [H, ceil(V/32), K, 32] of S_type: associations, value columns in slices (kernels.h)
  AlignedBuffer conv;  // [3, W-1, H*K]: last raw q, k, v projections, oldest first
  KdaHeldTokens held;  // tokens that S and conv have not seen: tentative ones, or kept ones not written yet

  KdaHeadMemory memory_of(std::ptrdiff_t head);  ///< where this head's part of S and conv lies
  std::vector<float> S_hkv() const;              ///< [H, K, V] copy

  /// All that is held, room for tentative tokens included.
  std::size_t bytes() const { return (S.size() + conv.size()) * sizeof(float) + held.bytes(); }

  /// Calls f(start, bytes) for every piece of memory held.
  template <class F>
  void for_each_block(F&& f) const {
    f(static_cast<const void*>(S.data()), S.size() * sizeof(float));
    f(static_cast<const void*>(conv.data()), conv.size() * sizeof(float));
    if (held.bytes() > 0) f(held.data(), held.bytes());
  }

  /// Of the held tokens the first `count` are true, and there were no others.
  void keep(std::ptrdiff_t count) noexcept {
    held.count = count;
    held.kept = count > 0;
  }

  /// Floats of scratch copy_of() needs.
  static std::ptrdiff_t head_copy_floats(std::ptrdiff_t K, std::ptrdiff_t V, std::ptrdiff_t W) {
    return kda_state_elements(K, V) + 3 * (W - 1) * K;
  }
  /// A copy of a head's memory, in `scratch`.
  KdaHeadMemory copy_of(const KdaHeadMemory& memory, float* scratch) const noexcept;

 private:
  /// Bytes of one head's S.
  std::ptrdiff_t head_bytes() const { return kda_state_elements(K, V) * static_cast<std::ptrdiff_t>(size_of(S_type)); }
};

}  // namespace kl
