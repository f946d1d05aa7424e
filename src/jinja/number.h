#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kl::jinja {

/// repr() of a float in Python: the shortest digits that give it back, "1.0", "1e+16", "1e-07", "-0.0", "inf", "nan".
std::string python_float(double value);

/// The integer that Python's int(text, base) reads: blanks around it, a sign, single underscores between digits.
/// Nothing if it is none, or does not fit.
std::optional<std::int64_t> read_integer(std::string_view text, int base);

/// The same for float(text).
std::optional<double> read_float(std::string_view text);

/// Integer arithmetic as Python has it; nothing if the result does not fit 64 bits.  REQUIRES: b != 0 for the last two.
std::optional<std::int64_t> power(std::int64_t base, std::int64_t exponent);
std::optional<std::int64_t> floor_divide(std::int64_t a, std::int64_t b);
std::int64_t floor_modulo(std::int64_t a, std::int64_t b);

double floor_divide(double a, double b);
double floor_modulo(double a, double b);

}  // namespace kl::jinja
