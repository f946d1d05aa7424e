#include "base/utf8.h"

#include <algorithm>
#include <cstring>

namespace kl {
namespace {

/// What a lead byte asks for: the length of its character and the range of the second byte (the later ones are 80..BF).
/// The narrowed ranges keep out overlong forms (E0, F0), surrogates (ED) and what lies beyond U+10FFFF (F4).
struct Lead {
  std::uint8_t bytes;  // 0 if no character starts with this byte
  std::uint8_t second_min;
  std::uint8_t second_max;
};

/// Table 3-7 of the Unicode standard by its first column.
Lead lead_of(unsigned char byte) noexcept {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

/// The number of ASCII bytes at the start, counted by eights: a multiple of 8, possibly fewer than there are.
std::size_t ascii_prefix(std::string_view bytes) noexcept {
  std::size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    std::uint64_t eight;
    std::memcpy(&eight, bytes.data() + i, 8);
    if (eight & 0x8080808080808080u) break;
  }
  return i;
}

/// Whether these are the first two bytes of a UTF-8 style surrogate and nothing more.  They are certainly ill-formed,
/// but Python's incremental decoder, by which streams are compared, waits for the third byte.
bool is_half_surrogate(std::string_view bytes) noexcept {
  return bytes.size() == 2 && bytes[0] == '\xED' && static_cast<unsigned char>(bytes[1]) >= 0xA0 &&
         static_cast<unsigned char>(bytes[1]) <= 0xBF;
}

bool is_continuation(char byte) noexcept { return (byte & 0xC0) == 0x80; }

}  // namespace

Utf8Unit next_utf8(std::string_view bytes) noexcept {
  using Kind = Utf8Unit::Kind;
  const Lead lead = lead_of(static_cast<unsigned char>(bytes[0]));
  if (lead.bytes == 0) return {Kind::kIllFormed, 1};
  for (std::uint8_t i = 1; i < lead.bytes; ++i) {
    if (i == bytes.size()) return {Kind::kIncomplete, i};
    const auto byte = static_cast<unsigned char>(bytes[i]);
    const bool fits = i == 1 ? lead.second_min <= byte && byte <= lead.second_max : is_continuation(bytes[i]);
    if (!fits) return {Kind::kIllFormed, i};
  }
  return {Kind::kCharacter, lead.bytes};
}

std::size_t utf8_length(std::string_view bytes) noexcept {
  if (bytes.empty()) return 0;
  const Utf8Unit unit = next_utf8(bytes);
  return unit.kind == Utf8Unit::Kind::kCharacter ? unit.bytes : 0;
}

std::size_t well_formed_prefix(std::string_view bytes) noexcept {
  std::size_t i = 0;
  while (i < bytes.size()) {
    if (static_cast<unsigned char>(bytes[i]) < 0x80) {
      i += 1 + ascii_prefix(bytes.substr(i + 1));
      continue;
    }
    const Utf8Unit unit = next_utf8(bytes.substr(i));
    if (unit.kind != Utf8Unit::Kind::kCharacter) break;
    i += unit.bytes;
  }
  return i;
}

std::string take_certain(std::string& pending) {
  const std::string_view bytes = pending;
  std::string text;
  std::size_t i = 0;
  while (true) {
    const std::size_t good = well_formed_prefix(bytes.substr(i));
    text += bytes.substr(i, good);
    i += good;
    if (i == bytes.size()) break;
    const Utf8Unit unit = next_utf8(bytes.substr(i));
    if (unit.kind == Utf8Unit::Kind::kIncomplete || is_half_surrogate(bytes.substr(i))) break;
    text += kReplacementCharacter;
    i += unit.bytes;
  }
  pending.erase(0, i);
  return text;
}

std::string replace_ill_formed(std::string_view bytes) {
  std::string rest(bytes);
  std::string text = take_certain(rest);
  if (is_half_surrogate(rest)) text += kReplacementCharacter;
  if (!rest.empty()) text += kReplacementCharacter;
  return text;
}

std::size_t last_character(std::string_view text) noexcept {
  std::size_t last = text.size() - 1;
  while (is_continuation(text[last])) --last;
  return last;
}

std::size_t count_characters(std::string_view text) noexcept {
  return text.size() - static_cast<std::size_t>(std::count_if(text.begin(), text.end(), is_continuation));
}

std::string to_utf8(std::uint32_t c) {
  const auto tail = [c](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xC0 | c >> 6), tail(0)};
  if (c < 0x10000) return {static_cast<char>(0xE0 | c >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | c >> 18), tail(12), tail(6), tail(0)};
}

}  // namespace kl
