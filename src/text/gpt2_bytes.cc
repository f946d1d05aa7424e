#include "text/gpt2_bytes.h"

#include <array>
#include <string>

namespace kl {
namespace {

constexpr bool stands_for_itself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

/// The byte of every character below U+0144, or -1.
constexpr std::array<int, 0x144> kBytes = [] {
  std::array<int, 0x144> bytes{};
  std::size_t next = 0x100;
  for (int i = 0; i < 256; ++i) bytes[static_cast<std::size_t>(i)] = stands_for_itself(i) ? i : -1;
  for (int i = 0; i < 256; ++i) {
    if (!stands_for_itself(i)) bytes[next++] = i;
  }
  return bytes;
}();

}  // namespace

bool append_gpt2_bytes(std::string_view text, std::string& bytes) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::size_t character = static_cast<unsigned char>(text[i]);
    if (character >= 0x80) {  // two bytes of UTF-8 reach all of them
      if (character < 0xc2 || character > 0xc5 || ++i == text.size()) return false;
      const auto second = static_cast<unsigned char>(text[i]);
      if ((second & 0xc0) != 0x80) return false;
      character = (character & 0x1f) << 6 | (second & 0x3f);
    }
    if (character >= kBytes.size() || kBytes[character] < 0) return false;
    bytes += static_cast<char>(kBytes[character]);
  }
  return true;
}

void append_gpt2_text(std::string_view bytes, std::string& text) {
  static const std::array<std::string, 256> characters = [] {
    std::array<std::string, 256> of_byte;
    for (std::size_t c = 0; c < kBytes.size(); ++c) {
      if (kBytes[c] < 0) continue;
      std::string& utf8 = of_byte[static_cast<std::size_t>(kBytes[c])];
      if (c >= 0x80) utf8 += static_cast<char>(0xc0 | c >> 6);
      utf8 += static_cast<char>(c < 0x80 ? c : 0x80 | (c & 0x3f));
    }
    return of_byte;
  }();
  for (const char byte : bytes) text += characters[static_cast<unsigned char>(byte)];
}

}  // namespace kl
