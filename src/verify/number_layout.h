#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "kl/safetensors.h"

namespace kl {

/// How the numbers of a tensor are stored.
enum class NumberType : std::uint8_t { kNone, kF64, kF32, kF16, kBF16, kF8E4M3, kF8E5M2, kF8E8M0 };

/// Where in a tensor's bytes there are floating-point numbers.
///
/// A tensor of floats is blocks of one number.  Quantised weights are blocks with scales, and minima, at fixed places: these
/// are looked at, as the rest may be any bits.
struct NumberLayout {
  struct Run {
    std::size_t at = 0;     ///< bytes from the beginning of the block
    std::size_t count = 1;  ///< numbers that follow one another
  };
  NumberType type = NumberType::kNone;  ///< kNone: there are none
  std::size_t block_bytes = 1;
  std::vector<Run> runs;

  std::size_t numbers_per_block() const;
  /// Numbers and nothing else.
  bool is_plain() const { return runs.size() == 1 && runs[0].at == 0 && block_bytes == bytes_of(type); }

  static std::size_t bytes_of(NumberType type);
};

/// Of a tensor of this name: floats and blocks of ggml by their dtype, packed weights of kl by their name.
NumberLayout number_layout(std::string_view name, const FileTensor& tensor);

/// Widens the numbers of `blocks` whole blocks to float; returns how many there were.
///
/// Shapes  out: [blocks * numbers_per_block()].   Errors  none; an f64 beyond float becomes infinite.
std::size_t read_numbers(const NumberLayout& layout, const std::byte* data, std::size_t blocks, float* out) noexcept;

}  // namespace kl
