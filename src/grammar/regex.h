#pragma once
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "grammar/automaton.h"
#include "grammar/budget.h"

namespace kl::grammar {

/// Why a pattern is refused: "a closing ]", "no lookahead", ...; the compiler adds the place.
class PatternError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The contents of JSON strings (canonical form, without quotes) in which the ECMA-262 pattern is found.
///
/// Supported: literals, ., classes, \d \w \s \D \W \S, escapes of characters, groups, |, * + ? {n,m} (lazy ones read the
/// same), ^ and $ anywhere, any number of them.  Refused: back references, look-around, \b, \p, and what the language does
/// not know.
/// Throws PatternError and Budget::Exceeded.  REQUIRES: well-formed UTF-8.
Graph compile_pattern(std::string_view pattern, Budget& budget);

/// Contents of strings, and how many characters they may have.
struct Texts {
  Graph graph;
  Count count;
};

/// The same, with ^[class]{n,m}$ as any number of such characters, counted: one state instead of m.
Texts compile_counted_pattern(std::string_view pattern, Budget& budget);

/// The rest of a string, closing quote included, whose characters the rule's counter counts; or nothing if a count could
/// lead where the text can neither end nor go on.  It can not if all states behind the first character accept and go on;
/// a start that does not accept raises `count.need` to 1.
std::optional<Graph> counted_rest(const Graph& contents, Count& count);

/// Contents of `least` to `most` characters (kUnlimited: any number).
Graph compile_length(std::uint32_t least, std::uint32_t most, Budget& budget);

}  // namespace kl::grammar
