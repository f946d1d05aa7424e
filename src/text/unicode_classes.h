#pragma once
#include <cstddef>
#include <cstdint>

namespace kl {

/// The classes of characters that the pre-tokeniser and the cut rule distinguish, one bit each; a character may be in
/// several.  Unicode 16.0.0.  tools/generate_unicode_tables.py repeats these values.
enum UnicodeClass : std::uint32_t {
  kHan = 1,     ///< Script=Han: ideographs, but also 々, the number 〇 and radicals such as ⺀ that are no letters
  kLetter = 2,  ///< \p{L}
  kNumber = 4,  ///< \p{N}: decimal digits, letter numbers, others
  kWhitespace = 8,    ///< White_Space, \s of the pattern
  kUpper = 16,        ///< [Lu Lt Lm Lo M] without Han: what may stand before the lower case part of a word
  kLower = 32,        ///< [Ll Lm Lo M] without Han.  Uncased letters and marks are in both
  kPythonSpace = 64,  ///< Python's str.isspace: White_Space and U+001C..U+001F
};

constexpr std::size_t kUnicodeBlock = 128;
constexpr std::size_t kUnicodeStage1Size = 0x110000 / kUnicodeBlock;

/// Two-stage table: stage 1 maps a block of 128 code points to its content, stage 2 holds each distinct content once.
/// The first 128 bytes of stage 2 are the classes of ASCII.
extern const std::uint8_t kUnicodeStage1[kUnicodeStage1Size];
extern const std::uint8_t kUnicodeStage2[];

/// The classes of a code point, a sum of UnicodeClass bits.  REQUIRES: code_point < 0x110000.
inline std::uint32_t unicode_classes(std::uint32_t code_point) noexcept {
  return kUnicodeStage2[kUnicodeStage1[code_point / kUnicodeBlock] * kUnicodeBlock + code_point % kUnicodeBlock];
}

}  // namespace kl
