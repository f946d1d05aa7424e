#pragma once
// SHA-256 (FIPS 180-4), for goldens that give the digest of a long list.
#include <array>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace kl::test {

/// The first 32 bits of the fractional part of a root of the i-th prime: square root for the initial state, cube root
/// for the round constants.  Computed in integers: floor(root(prime) * 2^32) by bisection, without its integer part.
inline std::uint32_t root_fraction(std::uint32_t prime, int degree) {
  __extension__ using Wide = unsigned __int128;
  std::uint64_t low = 0, high = std::uint64_t{1} << 37;
  while (high - low > 1) {
    const std::uint64_t middle = low + (high - low) / 2;
    // middle <= root * 2^32, compared as middle^degree <= prime * 2^(32 * degree)
    const Wide power = degree == 2 ? Wide{middle} * middle : Wide{middle} * middle * middle;
    (power <= Wide{prime} << (32 * degree) ? low : high) = middle;
  }
  return static_cast<std::uint32_t>(low);
}

inline std::array<std::uint32_t, 64> first_primes() {
  std::array<std::uint32_t, 64> primes{};
  std::size_t count = 0;
  for (std::uint32_t n = 2; count < primes.size(); ++n) {
    bool is_prime = true;
    for (std::size_t i = 0; i < count; ++i) is_prime = is_prime && n % primes[i] != 0;
    if (is_prime) primes[count++] = n;
  }
  return primes;
}

/// The digest in lower case hexadecimal.
inline std::string sha256(std::string_view data) {
  static const auto kPrimes = first_primes();
  static const auto kRound = [] {
    std::array<std::uint32_t, 64> k{};
    for (std::size_t i = 0; i < 64; ++i) k[i] = root_fraction(kPrimes[i], 3);
    return k;
  }();
  std::array<std::uint32_t, 8> state{};
  for (std::size_t i = 0; i < 8; ++i) state[i] = root_fraction(kPrimes[i], 2);

  std::string padded(data);
  padded += '\x80';
  while (padded.size() % 64 != 56) padded += '\0';
  for (int shift = 56; shift >= 0; shift -= 8)
    padded += static_cast<char>(std::uint64_t{data.size()} * 8 >> shift & 0xFF);

  for (std::size_t block = 0; block < padded.size(); block += 64) {
    std::array<std::uint32_t, 64> w{};
    for (std::size_t i = 0; i < 64; ++i) w[i / 4] = w[i / 4] << 8 | static_cast<unsigned char>(padded[block + i]);
    for (std::size_t i = 16; i < 64; ++i) {
      const std::uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ a >> 3) + w[i - 7] +
             (std::rotr(b, 17) ^ std::rotr(b, 19) ^ b >> 10);
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (std::size_t i = 0; i < 64; ++i) {
      const std::uint32_t t1 =
          h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + ((e & f) ^ (~e & g)) + kRound[i] + w[i];
      const std::uint32_t t2 = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    const std::array<std::uint32_t, 8> after{a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; ++i) state[i] += after[i];
  }
  std::string hex;
  for (const std::uint32_t word : state) {
    char digits[9];
    std::snprintf(digits, sizeof digits, "%08x", word);
    hex += digits;
  }
  return hex;
}

}  // namespace kl::test
