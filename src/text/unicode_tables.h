#pragma once
// How tools/generate_unicode_tables.py writes the tables of unicode.h.
#include <cstddef>
#include <cstdint>
#include <span>

#include "text/unicode.h"

namespace kl {

/// The table of `runs`, which follow one another from U+0000 to the last code point: length << 8 | classes.
/// A block of one content is stored once for each such content; there are few.
consteval UnicodeTable expand(std::span<const std::uint32_t> runs) {
  constexpr std::size_t kBlock = UnicodeTable::kBlock;
  UnicodeTable table{};
  std::size_t c = 0, used = 0;
  std::size_t uniform[256] = {};  // 1 + the content that is all of these classes
  for (const std::uint32_t run : runs) {
    const auto classes = static_cast<std::uint8_t>(run & 255);
    for (const std::size_t end = c + (run >> 8); c < end;) {
      const std::size_t block = c / kBlock, stop = end < (block + 1) * kBlock ? end : (block + 1) * kBlock;
      const bool is_whole = stop - c == kBlock;
      if (is_whole && uniform[classes] > 0) {
        table.stage1[block] = static_cast<std::uint8_t>(uniform[classes] - 1);
        c = stop;
        continue;
      }
      if (c % kBlock == 0) {
        if (used == UnicodeTable::kContents) throw "stage 1 no longer fits a byte";
        table.stage1[block] = static_cast<std::uint8_t>(used++);
        if (is_whole) uniform[classes] = used;
      }
      for (; c < stop; ++c) table.stage2[table.stage1[block] * kBlock + c % kBlock] = classes;
    }
  }
  if (c != 0x110000) throw "the runs are not all code points";
  return table;
}

/// first, first + step, ..., last have their counterparts `distance` further on.
struct CaseRun {
  std::uint32_t first, last, step;
  std::int32_t distance;
};

/// A character whose counterpart is several.
struct CaseText {
  std::uint32_t character;
  const char* text;
};

/// Characters that another case changes; in the order of characters.
struct CaseTable {
  std::span<const CaseRun> runs;
  std::span<const CaseText> texts;
};

extern const CaseTable kToLower, kToUpper;

/// What is not the upper case of the first character and the lower case of those that follow it there.
extern const CaseTable kToTitle;

}  // namespace kl
