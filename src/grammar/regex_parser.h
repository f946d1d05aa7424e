#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "grammar/characters.h"

namespace kl::grammar {

/// A pattern as a tree in one array: children stand before their parents, the root is last.
struct RegexNode {
  enum class Kind : std::uint8_t { kBegin, kEnd, kChars, kSequence, kChoice, kRepeat } kind = Kind::kSequence;
  std::vector<std::uint32_t> children;
  CharSet chars;                               ///< of kChars
  std::uint32_t least = 0, most = kUnlimited;  ///< of kRepeat
};

/// Throws PatternError.  Does not recurse, however deep the groups.
std::vector<RegexNode> parse_regex(std::string_view pattern);

}  // namespace kl::grammar
