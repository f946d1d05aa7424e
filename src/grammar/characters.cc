#include "grammar/characters.h"

#include <algorithm>
#include <array>

#include "base/utf8.h"

namespace kl::grammar {
namespace {

constexpr std::uint32_t kLast = 0x10FFFF;
constexpr CharRange kSurrogates = {0xD800, 0xDFFF};

/// Reads the UTF-8 of every code point in `range`.  A range is split until its encodings are a product of byte ranges:
/// at lengths first, then wherever the bits below a continuation byte do not run over all their values.
void add_utf8(Nfa& nfa, StateId from, CharRange range, StateId to) {
  std::vector<CharRange> work;
  std::uint32_t low = range.low;
  for (const std::uint32_t last : {0x7Fu, 0x7FFu, 0xFFFFu, kLast}) {
    if (low > last || low > range.high) continue;
    work.push_back({low, std::min(last, range.high)});
    low = last + 1;
  }
  while (!work.empty()) {
    const CharRange r = work.back();
    work.pop_back();
    bool split = false;
    for (int bits = 6; bits <= 18 && r.high >= 0x80 && !split; bits += 6) {
      const std::uint32_t below = (1u << bits) - 1;
      if ((r.low & ~below) == (r.high & ~below)) continue;
      split = true;
      if ((r.low & below) != 0) {
        work.push_back({r.low, r.low | below});
        work.push_back({(r.low | below) + 1, r.high});
      } else if ((r.high & below) != below) {
        work.push_back({r.low, (r.high & ~below) - 1});
        work.push_back({r.high & ~below, r.high});
      } else {
        split = false;
      }
    }
    if (split) continue;
    const std::string first = to_utf8(r.low), last = to_utf8(r.high);
    StateId at = from;
    for (std::size_t i = 0; i < first.size(); ++i) {
      const StateId next = i + 1 == first.size() ? to : nfa.add();
      nfa.edge(at, static_cast<std::uint8_t>(first[i]), static_cast<std::uint8_t>(last[i]), next);
      at = next;
    }
  }
}

}  // namespace

CharSet normalised(CharSet ranges) {
  CharSet split;
  for (const CharRange r : ranges) {
    if (r.low < kSurrogates.low) split.push_back({r.low, std::min(r.high, kSurrogates.low - 1)});
    if (r.high > kSurrogates.high) split.push_back({std::max(r.low, kSurrogates.high + 1), r.high});
  }
  std::sort(split.begin(), split.end(), [](CharRange a, CharRange b) { return a.low < b.low; });
  CharSet joined;
  for (const CharRange r : split) {
    if (!joined.empty() && r.low <= joined.back().high + 1) {
      joined.back().high = std::max(joined.back().high, r.high);
    } else {
      joined.push_back(r);
    }
  }
  return joined;
}

CharSet complement(const CharSet& set) {
  CharSet result;
  std::uint32_t low = 0;
  for (const CharRange r : set) {
    if (r.low > low) result.push_back({low, r.low - 1});
    low = r.high + 1;
  }
  if (low <= kLast) result.push_back({low, kLast});
  return normalised(std::move(result));
}

const CharSet& any_character() {
  static const CharSet any = complement({});
  return any;
}

std::string canonical(std::uint32_t c) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      break;
  }
  if (c >= 0x20) return to_utf8(c);
  constexpr std::string_view kHex = "0123456789abcdef";
  return std::string("\\u00") + kHex[c >> 4] + kHex[c & 15];
}

std::string canonical(std::string_view text) {
  std::string result;
  while (!text.empty()) result += canonical(take_code_point(text));
  return result;
}

void add_characters(Nfa& nfa, StateId from, const CharSet& set, StateId to) {
  constexpr std::array<std::uint32_t, 3> kEscaped = {0x1F, '"', '\\'};  // all below the first, and the others
  for (const CharRange range : set) {
    std::uint32_t low = range.low;
    for (; low <= std::min(range.high, kEscaped[0]); ++low) nfa.text(from, canonical(low), to);
    for (const std::uint32_t c : {kEscaped[1], kEscaped[2]}) {
      if (low > c || range.high < c) continue;
      if (low < c) add_utf8(nfa, from, {low, c - 1}, to);
      nfa.text(from, canonical(c), to);
      low = c + 1;
    }
    if (low <= range.high) add_utf8(nfa, from, {low, range.high}, to);
  }
}

std::uint32_t take_code_point(std::string_view& text) {
  const CodePoint c = read_code_point(text.data());
  text.remove_prefix(c.bytes);
  return c.value;
}

Graph string_rest() {
  // After: nothing; a backslash; \u and 0 to 3 digits of a character on its own; what may come second after the lead
  // bytes E0, ED, F0, F4; 1, 2 or 3 continuation bytes; \uD; the first half of a pair and the way to its second.
  enum : StateId { kBase, kEscape, kU, kHex3, kHex2, kHex1, kTail1, kTail2, kTail3, kE0, kED, kF0, kF4, kUD };
  enum : StateId { kHigh2 = kUD + 1, kHigh1, kSecond, kSecondU, kSecondD, kSecondLow, kEnd };
  struct Row {
    StateId from;
    int low, high;
    StateId to;
    Action action = Action::kNone;
  };
  constexpr auto kTick = Action::kTick;
  constexpr Row kRows[] = {
      // clang-format off
      {kBase, 0x20, 0x21, kBase, kTick}, {kBase, '"', '"', kEnd, Action::kLeave}, {kBase, 0x23, 0x5B, kBase, kTick},
      {kBase, '\\', '\\', kEscape, kTick}, {kBase, 0x5D, 0x7F, kBase, kTick}, {kBase, 0xC2, 0xDF, kTail1, kTick},
      {kBase, 0xE0, 0xE0, kE0, kTick}, {kBase, 0xE1, 0xEC, kTail2, kTick}, {kBase, 0xED, 0xED, kED, kTick},
      {kBase, 0xEE, 0xEF, kTail2, kTick}, {kBase, 0xF0, 0xF0, kF0, kTick}, {kBase, 0xF1, 0xF3, kTail3, kTick},
      {kBase, 0xF4, 0xF4, kF4, kTick},
      {kEscape, '"', '"', kBase}, {kEscape, '/', '/', kBase}, {kEscape, '\\', '\\', kBase}, {kEscape, 'b', 'b', kBase},
      {kEscape, 'f', 'f', kBase}, {kEscape, 'n', 'n', kBase}, {kEscape, 'r', 'r', kBase}, {kEscape, 't', 't', kBase},
      {kEscape, 'u', 'u', kU},
      {kU, '0', '9', kHex3}, {kU, 'A', 'C', kHex3}, {kU, 'D', 'D', kUD}, {kU, 'E', 'F', kHex3}, {kU, 'a', 'c', kHex3},
      {kU, 'd', 'd', kUD}, {kU, 'e', 'f', kHex3},
      {kHex3, '0', '9', kHex2}, {kHex3, 'A', 'F', kHex2}, {kHex3, 'a', 'f', kHex2},
      {kHex2, '0', '9', kHex1}, {kHex2, 'A', 'F', kHex1}, {kHex2, 'a', 'f', kHex1},
      {kHex1, '0', '9', kBase}, {kHex1, 'A', 'F', kBase}, {kHex1, 'a', 'f', kBase},
      {kTail1, 0x80, 0xBF, kBase}, {kTail2, 0x80, 0xBF, kTail1}, {kTail3, 0x80, 0xBF, kTail2},
      {kE0, 0xA0, 0xBF, kTail1}, {kED, 0x80, 0x9F, kTail1}, {kF0, 0x90, 0xBF, kTail2}, {kF4, 0x80, 0x8F, kTail2},
      {kUD, '0', '7', kHex2}, {kUD, '8', '9', kHigh2}, {kUD, 'A', 'B', kHigh2}, {kUD, 'a', 'b', kHigh2},
      {kHigh2, '0', '9', kHigh1}, {kHigh2, 'A', 'F', kHigh1}, {kHigh2, 'a', 'f', kHigh1},
      {kHigh1, '0', '9', kSecond}, {kHigh1, 'A', 'F', kSecond}, {kHigh1, 'a', 'f', kSecond},
      {kSecond, '\\', '\\', kSecondU}, {kSecondU, 'u', 'u', kSecondD},
      {kSecondD, 'D', 'D', kSecondLow}, {kSecondD, 'd', 'd', kSecondLow},
      {kSecondLow, 'C', 'F', kHex2}, {kSecondLow, 'c', 'f', kHex2},
      // clang-format on
  };
  Graph graph;
  const Row* row = std::begin(kRows);
  for (StateId s = kBase; s <= kEnd; ++s) {
    graph.add_state(s == kEnd);
    for (; row != std::end(kRows) && row->from == s; ++row) {
      graph.add_edge(static_cast<std::uint8_t>(row->low), static_cast<std::uint8_t>(row->high), row->to, row->action);
    }
  }
  return graph;
}

}  // namespace kl::grammar
