#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "grammar/nfa.h"

namespace kl::grammar {

/// A decimal number as digits, so that comparing numbers is comparing texts: -12.50 is {true, "12", "5"}.
struct Decimal {
  bool negative = false;
  std::string whole = "0";  ///< without leading zeros
  std::string fraction;     ///< without zeros at its end

  bool is_zero() const { return whole == "0" && fraction.empty(); }
};

/// The shortest decimal that reads as `value`; nothing if that needs more than 18 digits on a side.
std::optional<Decimal> to_decimal(double value);

/// Less than, equal to, greater than zero as a compares with b.
int compare(const Decimal& a, const Decimal& b);

/// Digits before the point, at most.
constexpr std::size_t kWholeDigits = 18;

struct Bound {
  Decimal value;
  bool exclusive = false;
};

/// Reads the integers in [low, high], without fraction or exponent and without -0.
void add_integers(Nfa& nfa, StateId from, std::int64_t low, std::int64_t high, StateId to);

/// Reads numbers of at most 18 digits before and 17 behind the point; with an exponent of one or two digits only where
/// nothing bounds them.  A text that is still short of a bound cannot end, and one that passed it cannot go on.  Bounds hold
/// for the text and for the double that it is read as.
void add_numbers(Nfa& nfa, StateId from, const std::optional<Bound>& low, const std::optional<Bound>& high, StateId to);

/// The integers (of any length) that `divisor` divides.
Graph multiples_of(std::uint32_t divisor, Budget& budget);

}  // namespace kl::grammar
