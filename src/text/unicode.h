#pragma once
// What kl knows of characters: the classes the tokenizer needs and the cases templates need.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/utf8.h"

namespace kl {

/// Classes of characters, one bit each; a character may be in several.  Unicode 16.0.0.
/// tools/generate_unicode_tables.py repeats these values.
enum UnicodeClass : std::uint32_t {
  kHan = 1,     ///< Script=Han: ideographs, but also 々, the number 〇 and radicals such as ⺀ that are no letters
  kLetter = 2,  ///< \p{L}
  kNumber = 4,  ///< \p{N}: decimal digits, letter numbers, others
  kWhitespace = 8,    ///< White_Space, \s of the pattern
  kUpper = 16,        ///< [Lu Lt Lm Lo M] without Han: what may stand before the lower case part of a word
  kLower = 32,        ///< [Ll Lm Lo M] without Han.  Uncased letters and marks are in both
  kPythonSpace = 64,  ///< Python's str.isspace: White_Space and U+001C..U+001F
  kPrintable = 128,   ///< Python's str.isprintable, what repr() shows as it is: all but [C Z], and the blank
};

/// Two-stage table: stage 1 maps a block of 128 code points to its content, stage 2 holds contents of blocks.
/// The first 128 bytes of stage 2 are the classes of ASCII.
struct UnicodeTable {
  static constexpr std::size_t kBlock = 128, kBlocks = 0x110000 / kBlock, kContents = 256;
  std::uint8_t stage1[kBlocks];
  std::uint8_t stage2[kContents * kBlock];
};
extern const UnicodeTable kUnicode;

/// The classes of a code point, a sum of UnicodeClass bits.  REQUIRES: code_point < 0x110000.
inline std::uint32_t unicode_classes(std::uint32_t code_point) noexcept {
  constexpr std::size_t kBlock = UnicodeTable::kBlock;
  return kUnicode.stage2[kUnicode.stage1[code_point / kBlock] * kBlock + code_point % kBlock];
}

/// One character of well-formed text.
struct Character {
  std::uint32_t classes;  ///< a sum of UnicodeClass bits
  std::uint32_t bytes;    ///< its length, 1 to 4
};

/// Reads one character.  REQUIRES: `text` points at the start of a well-formed character.
inline Character read_character(const char* text) noexcept {
  const auto lead = static_cast<unsigned char>(*text);
  if (lead < 0x80) return {kUnicode.stage2[lead], 1};
  const CodePoint c = read_code_point(text);
  return {unicode_classes(c.value), c.bytes};
}

/// Is the character of one case (Lu, Lt or Ll)?  Where one ends, str.title begins a word.
inline bool is_cased(std::uint32_t code_point) noexcept {
  const std::uint32_t classes = unicode_classes(code_point);
  return (classes & kUpper) * 2 != (classes & kLower);
}

enum class Case { kLower, kUpper, kTitle };

/// One character in another case, which may be several: Python's str.lower, upper and title (3.11, Unicode 14.0.0).
std::string to_case(std::uint32_t code_point, Case to);

}  // namespace kl
