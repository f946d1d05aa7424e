#include "text/base64.h"

#include <array>
#include <cstdint>

namespace kl {
namespace {

constexpr std::uint8_t kInvalid = 64;

constexpr std::array<std::uint8_t, 256> make_values() {
  std::array<std::uint8_t, 256> values{};
  values.fill(kInvalid);
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (std::size_t i = 0; i < kAlphabet.size(); ++i) {
    values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::uint8_t>(i);
  }
  return values;
}

constexpr auto kValues = make_values();

}  // namespace

bool append_base64(std::string_view base64, std::string& out) {
  if (base64.size() % 4 != 0) return false;
  for (std::size_t i = 0; i < base64.size(); i += 4) {
    std::string_view group = base64.substr(i, 4);
    if (i + 4 == base64.size()) {
      if (group.back() == '=') group.remove_suffix(1);
      if (group.back() == '=') group.remove_suffix(1);
    }
    if (group.size() < 2) return false;
    std::uint32_t bits = 0;
    for (const char c : group) {
      const std::uint8_t value = kValues[static_cast<unsigned char>(c)];
      if (value == kInvalid) return false;
      bits = bits << 6 | value;
    }
    // 4, 3 or 2 characters of 6 bits hold 3, 2 or 1 bytes and 0, 2 or 4 unused bits.
    const std::size_t num_bytes = group.size() - 1;
    const std::size_t unused = 6 * group.size() - 8 * num_bytes;
    if (bits & ((1u << unused) - 1)) return false;
    bits >>= unused;
    for (std::size_t k = num_bytes; k-- > 0;) out += static_cast<char>(bits >> (8 * k) & 0xFF);
  }
  return true;
}

std::string to_base64(std::string_view bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    unsigned word = 0;
    const std::size_t n = bytes.size() - i < 3 ? bytes.size() - i : 3;
    for (std::size_t j = 0; j < 3; ++j) word = word << 8 | (j < n ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    for (std::size_t j = 0; j < 4; ++j) text += j <= n ? digits[word >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

}  // namespace kl
