#pragma once
#include <cstddef>
#include <string_view>

#include "base/numbers.h"
#include "kl/safetensors.h"

namespace kl {

/// Where in a tensor's bytes there are floating-point numbers.
///
/// A tensor of floats is blocks of one number.  Quantised weights are blocks with scales, and minima, at a fixed place:
/// these are looked at, as the rest may be any bits.
struct NumberLayout {
  NumberType type = NumberType::kF32;
  std::size_t block_bytes = 1;
  std::size_t at = 0;     ///< bytes from the beginning of a block to its numbers
  std::size_t count = 0;  ///< numbers of a block, one after the other; 0: the tensor has none

  /// Numbers and nothing else.
  bool is_plain() const { return count == 1 && block_bytes == size_of(type); }
};

/// Of a tensor of this name: floats and blocks of ggml by their dtype, packed weights of kl by their name.
NumberLayout number_layout(std::string_view name, const FileTensor& tensor);

/// Widens the numbers of `blocks` whole blocks to float; returns how many there were.
///
/// Shapes  out: [blocks * layout.count].   Errors  none; an f64 beyond float becomes infinite.
std::size_t read_numbers(const NumberLayout& layout, const std::byte* data, std::size_t blocks, float* out) noexcept;

}  // namespace kl
