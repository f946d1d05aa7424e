#pragma once
#include <cstddef>
#include <cstdint>

#include "verify/number_layout.h"

namespace kl {

/// What the numbers and bytes of a tensor, or of a piece of one, are like.
struct TensorStats {
  std::int64_t count = 0;  ///< numbers
  std::int64_t nans = 0, infs = 0;
  std::int64_t first_bad = -1;  ///< index among the numbers of the first that is not finite
  std::int64_t zeros = 0;
  double sum_squares = 0;     ///< of the finite ones
  float min = 0, max = 0;     ///< of the finite ones
  std::uint64_t content = 0;  ///< of the bytes: equal for equal bytes cut into equal pieces

  /// Takes in the piece that follows.
  void append(const TensorStats& next);

  double rms() const;
  float largest() const;  ///< magnitude

  /// rms of all but the number of largest magnitude.
  double rms_of_rest() const;
};

/// Looks at a piece of a tensor that is whole blocks, but perhaps for bytes at its end that belong to none.
///
/// Numerics  f32 sums of squares of 16 lanes over 2,048 numbers, these summed in double: statistics, not results.
TensorStats scan(const NumberLayout& layout, const std::byte* data, std::size_t bytes) noexcept;

}  // namespace kl
