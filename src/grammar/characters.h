#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/nfa.h"

namespace kl::grammar {

/// Code points from low to high.
struct CharRange {
  std::uint32_t low, high;
};

/// A set of code points: ascending, disjoint, without surrogates.
using CharSet = std::vector<CharRange>;

/// Sorts and joins ranges, and leaves surrogates out.
CharSet normalised(CharSet ranges);
CharSet complement(const CharSet& set);
const CharSet& any_character();

/// The one way in which we write `code_point` inside a JSON string where the text must be known byte by byte: itself in
/// UTF-8, or \" \\ \b \f \n \r \t, or \u00XX for other control characters.
std::string canonical(std::uint32_t code_point);

/// `text` (UTF-8) as the canonical content of a JSON string, without the quotes.
std::string canonical(std::string_view text);

/// Reads one character of `set` in canonical form.
void add_characters(Nfa& nfa, StateId from, const CharSet& set, StateId to);

/// Takes the first code point off well-formed UTF-8.  REQUIRES: not empty.
std::uint32_t take_code_point(std::string_view& text);

/// What may stand between the quotes of a JSON string, in every form JSON allows: escapes, pairs of surrogates,
/// well-formed UTF-8.  Counted by the rule's counter, one tick for a character.  State 0 is the start; it ends by the
/// closing quote.
Graph string_rest();

}  // namespace kl::grammar
