#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace kl {

/// U+FFFD, which stands in for what is no UTF-8.
constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

/// What the bytes at some place are.
struct Utf8Unit {
  enum class Kind : std::uint8_t {
    kCharacter,   ///< one well-formed character
    kIllFormed,   ///< a maximal ill-formed subpart: 1 to 3 bytes that no continuation can repair
    kIncomplete,  ///< the text ends inside what may still become a character
  };
  Kind kind;
  std::uint8_t bytes;  ///< 1 to 4
};

/// Classifies the start of `bytes` by table 3-7 of the Unicode standard.  REQUIRES: not empty.
Utf8Unit next_utf8(std::string_view bytes) noexcept;

/// The length of the character at the start of `bytes`, or 0 if there is none that is whole and well-formed.
std::size_t utf8_length(std::string_view bytes) noexcept;

/// The number of bytes before the first one that is not part of a well-formed character.
std::size_t well_formed_prefix(std::string_view bytes) noexcept;

/// The bytes as text: each maximal ill-formed subpart, and an unfinished character at the end, becomes one U+FFFD.
/// This is the rule of the WHATWG decoder and of Python's errors="replace".
std::string replace_ill_formed(std::string_view bytes);

/// Moves what is certain from the front of `pending` to the result, ill-formed parts replaced.  What may still become a
/// character, at most 3 bytes, stays in `pending`; so does half a surrogate, as in Python's incremental decoder.
std::string take_certain(std::string& pending);

// --- well-formed text ------------------------------------------------------------------------------------------------

/// A code point, and how many bytes it takes.
struct CodePoint {
  std::uint32_t value;
  std::uint32_t bytes;  ///< 1 to 4
};

/// Bytes of the character that begins with this byte.
constexpr std::uint32_t character_length(char lead) noexcept {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/// REQUIRES: `text` points at the start of a well-formed character.
inline CodePoint read_code_point(const char* text) noexcept {
  const auto byte = [text](int i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

/// The first code point of `text`, which is not empty.
inline std::uint32_t first_character(std::string_view text) noexcept { return read_code_point(text.data()).value; }

/// Where the last character of `text`, which is not empty, begins.
std::size_t last_character(std::string_view text) noexcept;

std::size_t count_characters(std::string_view text) noexcept;

/// REQUIRES: a code point that is no surrogate.
std::string to_utf8(std::uint32_t code_point);

}  // namespace kl
