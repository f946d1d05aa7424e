#pragma once
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
/// same), ^ and $ anywhere.  Refused: back references, look-around, \b, \p, and what the language does not know.
/// Throws PatternError and Budget::Exceeded.  REQUIRES: well-formed UTF-8.
Graph compile_pattern(std::string_view pattern, Budget& budget);

/// Contents of `least` to `most` characters (kUnlimited: any number).
Graph compile_length(std::uint32_t least, std::uint32_t most, Budget& budget);

}  // namespace kl::grammar
