#pragma once
// Rows of unsigned numbers of a few bits each, packed into one stream.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/numbers.h"

namespace kl {

/// Number j of a row in which number j has bits [j bits, (j + 1) bits) of a little-endian stream, lowest bit first.
/// Numbers of 3, 5 and 6 bits cross the borders of bytes and words.   REQUIRES: bits <= 8.
inline unsigned bits_at(const std::byte* row, int bits, std::int64_t j) {
  const std::int64_t at = j * bits;
  const auto low = static_cast<unsigned>(row[at / 8]);
  const bool crosses = at % 8 + bits > 8;
  const unsigned both = low | (crosses ? static_cast<unsigned>(row[at / 8 + 1]) << 8 : 0u);
  return both >> (at % 8) & ((1u << bits) - 1u);
}

/// Eight numbers at a time, which are `kBits` whole bytes.
template <int kBits>
void unpack_eights(const std::byte* row, std::int64_t n, std::uint8_t* q) noexcept {
  for (std::int64_t j = 0; j + 8 <= n; j += 8, row += kBits) {
    std::uint64_t word = 0;
    std::memcpy(&word, row, kBits);
    for (int i = 0; i < 8; ++i) q[j + i] = static_cast<std::uint8_t>(word >> (i * kBits) & ((1u << kBits) - 1u));
  }
}

/// All numbers of such a row: q[j] = bits_at(row, bits, j).   REQUIRES: n a multiple of 8 unless bits is 4 or 8.
inline void unpack_bits(const std::byte* row, int bits, std::int64_t n, std::uint8_t* q) noexcept {
  switch (bits) {
    case 2:
      return unpack_eights<2>(row, n, q);
    case 3:
      return unpack_eights<3>(row, n, q);
    case 4:
      for (std::int64_t i = 0; i < n / 2; ++i) {
        const auto byte = static_cast<unsigned>(row[i]);
        q[2 * i] = static_cast<std::uint8_t>(byte & 15u);
        q[2 * i + 1] = static_cast<std::uint8_t>(byte >> 4);
      }
      if (n % 2 != 0) q[n - 1] = static_cast<std::uint8_t>(static_cast<unsigned>(row[n / 2]) & 15u);
      return;
    case 5:
      return unpack_eights<5>(row, n, q);
    case 6:
      return unpack_eights<6>(row, n, q);
    default:
      std::memcpy(q, row, static_cast<std::size_t>(n));
  }
}

/// Such a row of E2M1 times half a scale.   Shapes  codes: [n / 2]   w: [n], n even.
inline void decode_e2m1(const std::byte* codes, std::int64_t n, float half_scale, float* w) noexcept {
  for (std::int64_t k = 0; k < n; k += 2) {
    const auto both = static_cast<unsigned>(codes[k / 2]);
    w[k] = static_cast<float>(kTwiceE2m1[both & 15u]) * half_scale;
    w[k + 1] = static_cast<float>(kTwiceE2m1[both >> 4]) * half_scale;
  }
}

/// The other way: writes numbers of `bits` bits as such a row.   REQUIRES: n bits is a multiple of 8.
inline void pack_bits(const std::uint8_t* q, int bits, std::int64_t n, std::byte* row) noexcept {
  std::uint64_t pending = 0;
  int have = 0;
  for (std::int64_t j = 0; j < n; ++j) {
    pending |= std::uint64_t{q[j]} << have;
    for (have += bits; have >= 8; have -= 8, pending >>= 8) *row++ = static_cast<std::byte>(pending & 255u);
  }
}

}  // namespace kl
