#include "grammar/numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace kl::grammar {
namespace {

constexpr std::size_t kFractionDigits = 17;

void digit(Nfa& nfa, StateId from, int low, int high, StateId to) {
  if (low <= high) nfa.edge(from, static_cast<std::uint8_t>('0' + low), static_cast<std::uint8_t>('0' + high), to);
}

/// Reads the numbers from `low` to `high`, both written with the same number of digits.
///
/// While the digits read are those of a bound, that bound restricts the next digit; the first other digit frees it.
void add_same_length(Nfa& nfa, StateId from, const std::string& low, const std::string& high, StateId to) {
  std::optional<StateId> both = from, at_low, at_high, free;
  for (std::size_t i = 0; i < low.size(); ++i) {
    const int l = low[i] - '0', h = high[i] - '0';
    const bool last = i + 1 == low.size();
    std::optional<StateId> next_both, next_low, next_high, next_free;
    const auto go = [&](std::optional<StateId> at, int from_digit, int to_digit, std::optional<StateId>& next) {
      if (!at || from_digit > to_digit) return;
      if (!next) next = last ? to : nfa.add();
      digit(nfa, *at, from_digit, to_digit, *next);
    };
    if (l == h) {
      go(both, l, l, next_both);
    } else {
      go(both, l, l, next_low);
      go(both, h, h, next_high);
      go(both, l + 1, h - 1, next_free);
    }
    go(at_low, l, l, next_low);
    go(at_low, l + 1, 9, next_free);
    go(at_high, h, h, next_high);
    go(at_high, 0, h - 1, next_free);
    go(free, 0, 9, next_free);
    both = next_both, at_low = next_low, at_high = next_high, free = next_free;
  }
}

/// Reads the numbers without sign from `low` to `high`, given as digits.
void add_naturals(Nfa& nfa, StateId from, const std::string& low, const std::string& high, StateId to) {
  for (std::size_t length = low.size(); length <= high.size(); ++length) {
    std::string least = low;
    if (length > low.size()) {
      least.assign(length, '0');
      least[0] = '1';
    }
    const std::string most = length == high.size() ? high : std::string(length, '9');
    if (least <= most) add_same_length(nfa, from, least, most, to);
  }
}

std::string plus_one(std::string digits) {
  std::size_t i = digits.size();
  while (i > 0 && digits[i - 1] == '9') digits[--i] = '0';
  if (i == 0) return digits.insert(digits.begin(), '1'), digits;
  ++digits[i - 1];
  return digits;
}

std::string minus_one(std::string digits) {  // REQUIRES: not "0"
  std::size_t i = digits.size();
  while (digits[i - 1] == '0') digits[--i] = '9';
  --digits[i - 1];
  if (digits.size() > 1 && digits[0] == '0') digits.erase(0, 1);
  return digits;
}

bool less(const std::string& a, const std::string& b) { return a.size() != b.size() ? a.size() < b.size() : a < b; }

/// Reads nothing, or a point and 1 to kFractionDigits digits that make a fraction within the bounds.
///
/// How the digits read so far compare with those of a bound: still equal, or decided.  A bound's digits go on with
/// zeros.
void add_fraction(Nfa& nfa, StateId from, const std::optional<Bound>& low, const std::optional<Bound>& high,
                  StateId to) {
  // Index: bit 0 = still equal to low, bit 1 = still equal to high.
  const auto may_end = [&](int tie, std::size_t read) {
    if ((tie & 1) != 0) {
      const bool equal = low->value.fraction.size() <= read;  // otherwise still below it
      if (!equal || low->exclusive) return false;
    }
    if ((tie & 2) != 0) {
      const bool equal = high->value.fraction.size() <= read;
      if (equal && high->exclusive) return false;
    }
    return true;
  };
  const auto digit_of = [](const Bound& bound, std::size_t i) {
    return i < bound.value.fraction.size() ? bound.value.fraction[i] - '0' : 0;
  };
  const int start = (low ? 1 : 0) | (high ? 2 : 0);
  if (may_end(start, 0)) nfa.empty(from, to);
  const StateId point = nfa.add();
  nfa.edge(from, '.', '.', point);
  std::optional<StateId> at[4];
  at[start] = point;
  for (std::size_t i = 0; i < kFractionDigits; ++i) {
    std::optional<StateId> next[4];
    for (int tie = 0; tie < 4; ++tie) {
      if (!at[tie]) continue;
      for (int d = 0; d <= 9; ++d) {
        int after = tie;
        if ((tie & 1) != 0) {
          if (d < digit_of(*low, i)) continue;
          if (d > digit_of(*low, i)) after &= ~1;
        }
        if ((tie & 2) != 0) {
          if (d > digit_of(*high, i)) continue;
          if (d < digit_of(*high, i)) after &= ~2;
        }
        if (!next[after]) {
          next[after] = nfa.add();
          if (may_end(after, i + 1)) nfa.empty(*next[after], to);
        }
        digit(nfa, *at[tie], d, d, *next[after]);
      }
    }
    std::copy(std::begin(next), std::end(next), std::begin(at));
  }
}

/// Reads numbers >= 0 within the bounds, without sign.
void add_unsigned(Nfa& nfa, StateId from, const std::optional<Bound>& low, const std::optional<Bound>& high,
                  StateId to) {
  const std::string first = low ? low->value.whole : "0";
  const std::string last = high ? high->value.whole : std::string(kWholeDigits, '9');
  if (less(last, first)) return;
  const auto with_whole = [&](const std::string& from_whole, const std::string& to_whole, bool at_low, bool at_high) {
    if (less(to_whole, from_whole)) return;
    const StateId behind = nfa.add();
    add_naturals(nfa, from, from_whole, to_whole, behind);
    add_fraction(nfa, behind, at_low ? low : std::nullopt, at_high ? high : std::nullopt, to);
  };
  if (first == last) {
    with_whole(first, last, low.has_value(), high.has_value());
    return;
  }
  with_whole(first, first, low.has_value(), false);
  if (last != "0") with_whole(plus_one(first), minus_one(last), false, false);
  with_whole(last, last, false, high.has_value());
}

/// An exponent of one or two digits.
void add_exponent(Nfa& nfa, StateId from, StateId to) {
  const StateId sign = nfa.add(), first = nfa.add(), second = nfa.add();
  nfa.edge(from, 'E', 'E', sign);
  nfa.edge(from, 'e', 'e', sign);
  nfa.edge(sign, '+', '+', first);
  nfa.edge(sign, '-', '-', first);
  nfa.empty(sign, first);
  digit(nfa, first, 0, 9, second);
  digit(nfa, second, 0, 9, to);
  nfa.empty(second, to);
}

/// The same bound for those who read doubles, included: the nearest double that satisfies it.  Digits beyond those of a
/// double could else make a text that satisfies a bound as it is written and breaks it as it is read.
std::optional<Bound> as_read(const std::optional<Bound>& bound, bool lower) {
  if (!bound) return {};
  const Decimal& d = bound->value;
  const double nearest = std::strtod(((d.negative ? "-" : "") + d.whole + "." + d.fraction).c_str(), nullptr);
  for (const double value : {nearest, std::nextafter(nearest, lower ? HUGE_VAL : -HUGE_VAL)}) {
    const auto decimal = to_decimal(value);
    if (!decimal) break;
    const int order = compare(*decimal, d) * (lower ? 1 : -1);
    if (order > 0 || (order == 0 && !bound->exclusive)) return Bound{*decimal, /*exclusive=*/false};
  }
  return bound;  // between it and the next double are no numbers of so few digits
}

/// The bound of -x where `bound` is that of x.
std::optional<Bound> mirrored(std::optional<Bound> bound) {
  if (bound) bound->value.negative = !bound->value.negative;
  return bound;
}

}  // namespace

std::optional<Decimal> to_decimal(double value) {
  std::string text;
  for (int precision = 0; precision <= 17; ++precision) {
    text = fmt::format("{:.{}e}", value, precision);
    if (std::strtod(text.c_str(), nullptr) == value) break;
  }
  Decimal decimal;
  decimal.negative = text[0] == '-';
  const std::size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  std::string digits;
  for (const char c : text.substr(0, e)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  if (exponent >= static_cast<int>(kWholeDigits) || exponent < -static_cast<int>(kWholeDigits)) {
    if (value != 0) return {};
  }
  if (exponent < 0) digits.insert(0, static_cast<std::size_t>(-exponent), '0');
  const std::size_t whole = exponent < 0 ? 1 : static_cast<std::size_t>(exponent) + 1;
  if (digits.size() < whole) digits.append(whole - digits.size(), '0');
  decimal.whole = digits.substr(0, whole);
  decimal.fraction = digits.substr(whole);
  while (decimal.whole.size() > 1 && decimal.whole[0] == '0') decimal.whole.erase(0, 1);
  while (!decimal.fraction.empty() && decimal.fraction.back() == '0') decimal.fraction.pop_back();
  if (decimal.fraction.size() > kFractionDigits) return {};
  if (decimal.is_zero()) decimal.negative = false;
  return decimal;
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.is_zero() && b.is_zero()) return 0;
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  int order = less(a.whole, b.whole) ? -1 : less(b.whole, a.whole) ? 1 : 0;
  if (order == 0) order = a.fraction.compare(b.fraction);
  return a.negative ? -order : order;
}

void add_integers(Nfa& nfa, StateId from, std::int64_t low, std::int64_t high, StateId to) {
  const auto magnitude = [](std::int64_t x) {
    return x < 0 ? 0 - static_cast<std::uint64_t>(x) : static_cast<std::uint64_t>(x);
  };
  if (low > high) return;
  if (high >= 0) add_naturals(nfa, from, std::to_string(std::max<std::int64_t>(low, 0)), std::to_string(high), to);
  if (low < 0) {
    const StateId minus = nfa.text(from, "-");
    add_naturals(nfa, minus, std::to_string(magnitude(std::min<std::int64_t>(high, -1))),
                 std::to_string(magnitude(low)), to);
  }
}

void add_numbers(Nfa& nfa, StateId from, const std::optional<Bound>& least_bound,
                 const std::optional<Bound>& most_bound, StateId to) {
  const std::optional<Bound> low = as_read(least_bound, /*lower=*/true), high = as_read(most_bound, /*lower=*/false);
  if (!low && !high) {
    const StateId sign = nfa.add(), mantissa = nfa.add();
    nfa.edge(from, '-', '-', sign);
    nfa.empty(from, sign);
    add_unsigned(nfa, sign, {}, {}, mantissa);
    nfa.empty(mantissa, to);
    add_exponent(nfa, mantissa, to);
    return;
  }
  const Bound zero;
  const bool low_negative = !low || low->value.negative;
  const bool high_negative = high && high->value.negative;
  if (!high_negative) add_unsigned(nfa, from, low_negative ? zero : *low, high, to);
  if (low_negative) {
    const std::optional<Bound> least = high_negative ? mirrored(high) : Bound{{}, /*exclusive=*/true};
    add_unsigned(nfa, nfa.text(from, "-"), least, mirrored(low), to);
  }
}

Graph multiples_of(std::uint32_t divisor, Budget& budget) {
  // State 0: nothing read; 1: a minus; r + 2: digits with remainder r.
  budget.spend_states(divisor + 2);
  Graph graph;
  for (std::uint32_t s = 0; s < divisor + 2; ++s) {
    graph.add_state(s == 2);
    if (s == 0) graph.add_edge('-', '-', 1);
    const std::uint64_t remainder = s < 2 ? 0 : s - 2;
    for (std::uint64_t d = 0; d <= 9; ++d) {
      const auto target = static_cast<StateId>((remainder * 10 + d) % divisor + 2);
      const auto byte = static_cast<std::uint8_t>('0' + d);
      graph.add_edge(byte, byte, target);
    }
  }
  return graph;
}

}  // namespace kl::grammar
