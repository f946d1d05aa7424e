#pragma once
// The pre-tokeniser's pattern matched literally: every alternative written as the pattern has it, every choice of the
// regular expression tried in its order.  It is nothing like the scanner, and slow where the scanner is linear: what
// the scanner is tested with.
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "text/unicode.h"

namespace kl::test {

/// A text as code points: their classes and, for those the pattern names, their values.
struct LiteralText {
  explicit LiteralText(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
      const Character c = read_character(text.data() + i);
      classes.push_back(c.classes);
      spelling.push_back(text.substr(i, c.bytes));
      i += c.bytes;
    }
  }
  std::vector<std::uint32_t> classes;
  std::vector<std::string_view> spelling;
};

/// Matches a part of the pattern at code point `at`, then what follows it: continuation-passing is backtracking.
using Continue = std::function<int(int)>;                     // from a code point to the end of the match, or -1
using Matcher = std::function<int(int at, const Continue&)>;  // the same with what follows

class LiteralPattern {
 public:
  LiteralPattern() {
    const auto han = one([](auto c, auto) { return (c & kHan) != 0; });
    const auto upper = one([](auto c, auto) { return (c & kUpper) != 0; });
    const auto lower = one([](auto c, auto) { return (c & kLower) != 0; });
    const auto number = one([](auto c, auto) { return (c & kNumber) != 0; });
    const auto space = one([](auto c, auto) { return (c & kWhitespace) != 0; });
    const auto blank = one([](auto, auto s) { return s == " "; });
    const auto line_end = one([](auto, auto s) { return s == "\r" || s == "\n"; });
    const auto lead = one([](auto c, auto s) { return s != "\r" && s != "\n" && (c & (kLetter | kNumber)) == 0; });
    const auto symbol = one([](auto c, auto) { return (c & (kWhitespace | kLetter | kNumber)) == 0; });
    const auto at_end_or_before_space = [this](int at, const Continue& then) {
      return at == size_ || (text_.classes[index(at)] & kWhitespace) != 0 ? then(at) : -1;
    };
    const auto suffix =
        repeat(any({word("'s"), word("'t"), word("'re"), word("'ve"), word("'m"), word("'ll"), word("'d")}), 0, 1);

    pattern_ = any({
        repeat(han, 1, kAny),
        all({repeat(lead, 0, 1), repeat(upper, 0, kAny), repeat(lower, 1, kAny), suffix}),
        all({repeat(lead, 0, 1), repeat(upper, 1, kAny), repeat(lower, 0, kAny), suffix}),
        repeat(number, 1, 3),
        all({repeat(blank, 0, 1), repeat(symbol, 1, kAny), repeat(line_end, 0, kAny)}),
        all({repeat(space, 0, kAny), repeat(line_end, 1, kAny)}),
        all({repeat(space, 1, kAny), at_end_or_before_space}),
        repeat(space, 1, kAny),
    });
  }
  LiteralPattern(const LiteralPattern&) = delete;
  LiteralPattern& operator=(const LiteralPattern&) = delete;

  /// The length in bytes of the match at the start of the text.
  std::size_t first_piece(std::string_view text) {
    text_ = LiteralText(text);
    size_ = static_cast<int>(text_.classes.size());
    const int end = pattern_(0, [](int at) { return at; });
    std::size_t bytes = 0;
    for (int i = 0; i < end; ++i) bytes += text_.spelling[index(i)].size();
    return bytes;
  }

 private:
  static constexpr int kAny = 1'000'000;
  static std::size_t index(int at) { return static_cast<std::size_t>(at); }

  template <class Test>
  Matcher one(Test test) const {
    return [this, test](int at, const Continue& then) {
      return at < size_ && test(text_.classes[index(at)], text_.spelling[index(at)]) ? then(at + 1) : -1;
    };
  }

  /// An apostrophe and ASCII letters in either case; U+017F folds to s.
  Matcher word(std::string_view letters) const {
    std::vector<Matcher> parts;
    for (const char c : letters) {
      parts.push_back(one([c](auto, std::string_view s) {
        if (c == 's' && s == "\u017F") return true;
        return s.size() == 1 && (s[0] == c || (c != '\'' && s[0] == c - 'a' + 'A'));
      }));
    }
    return all(parts);
  }

  static Matcher any(std::vector<Matcher> choices) {
    return [choices](int at, const Continue& then) {
      for (const Matcher& choice : choices) {
        if (const int end = choice(at, then); end >= 0) return end;
      }
      return -1;
    };
  }

  static Matcher all(std::vector<Matcher> parts) {
    return [parts](int at, const Continue& then) {
      std::function<int(std::size_t, int)> from = [&](std::size_t i, int here) -> int {
        if (i == parts.size()) return then(here);
        return parts[i](here, [&, i](int next) { return from(i + 1, next); });
      };
      return from(0, at);
    };
  }

  /// Greedy: once more if possible, else on with what follows.
  static Matcher repeat(Matcher part, int least, int most) {
    return [part, least, most](int at, const Continue& then) {
      std::function<int(int, int)> from = [&](int count, int here) -> int {
        if (count < most) {
          const int end = part(here, [&, count](int next) { return from(count + 1, next); });
          if (end >= 0) return end;
        }
        return count >= least ? then(here) : -1;
      };
      return from(0, at);
    };
  }

  Matcher pattern_;
  LiteralText text_{""};
  int size_ = 0;
};

}  // namespace kl::test
