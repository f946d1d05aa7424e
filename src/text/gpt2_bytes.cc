#include "text/gpt2_bytes.h"

#include <array>
#include <string>

#include "base/utf8.h"

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
  while (!text.empty()) {
    if (utf8_length(text) == 0) return false;
    const CodePoint c = read_code_point(text.data());
    if (c.value >= kBytes.size() || kBytes[c.value] < 0) return false;
    bytes += static_cast<char>(kBytes[c.value]);
    text.remove_prefix(c.bytes);
  }
  return true;
}

void append_gpt2_text(std::string_view bytes, std::string& text) {
  static const std::array<std::string, 256> characters = [] {
    std::array<std::string, 256> of_byte;
    for (std::uint32_t c = 0; c < kBytes.size(); ++c) {
      if (kBytes[c] >= 0) of_byte[static_cast<std::size_t>(kBytes[c])] = to_utf8(c);
    }
    return of_byte;
  }();
  for (const char byte : bytes) text += characters[static_cast<unsigned char>(byte)];
}

}  // namespace kl
