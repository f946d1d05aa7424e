#pragma once
// How cached MLA latents lie in memory.  Part of the contract of kernels.h.
#include <cstddef>
#include <cstdint>

namespace kl {

/// Element type of cached latents.
enum class LatentType : std::uint8_t {
  kF32,   ///< as computed
  kBf16,  ///< half the memory; rounding to nearest even
  kInt8,  ///< a quarter: one scale for the latent of a token, one for its shared key part
};

/// A row is one token: the normalised latent [R], then the shared key part [P].
///
///     f32, bf16   R + P elements; bf16 and an odd number: one more, 0
///     int8        R + P signed bytes, then two f32 scales, largest / 127 of each part
struct LatentFormat {
  LatentType type = LatentType::kF32;
  std::ptrdiff_t R = 0, P = 0;

  /// Numbers of a row.
  constexpr std::ptrdiff_t floats() const { return R + P; }
  /// A multiple of four bytes.
  constexpr std::ptrdiff_t row_bytes() const {
    switch (type) {
      case LatentType::kBf16:
        return (2 * floats() + 3) / 4 * 4;
      case LatentType::kInt8:
        return scales_at() + 8;
      default:
        return 4 * floats();
    }
  }
  /// Where the scales of an int8 row begin.
  constexpr std::ptrdiff_t scales_at() const { return (floats() + 3) / 4 * 4; }
};

}  // namespace kl
