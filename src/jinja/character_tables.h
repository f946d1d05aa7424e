#pragma once
#include <cstddef>
#include <cstdint>

namespace kl::jinja {

// What tools/generate_case_tables.py writes; read by characters.cc.

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

/// Both in the order of characters.
struct CaseTable {
  const CaseRun* runs;
  std::size_t num_runs;
  const CaseText* texts;
  std::size_t num_texts;
};

struct CharacterRange {
  std::uint32_t first, last;
};

extern const CaseTable kLower, kUpper, kTitle;
extern const CharacterRange kUnprintableRanges[], kCasedRanges[];
extern const std::size_t kNumUnprintable, kNumCased;

}  // namespace kl::jinja
