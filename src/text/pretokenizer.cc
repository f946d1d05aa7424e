// How each alternative of the pattern becomes code, and why no general backtracking is left.
//
// The regex engine tries the alternatives in order; the first that matches wins, even when a later one would reach
// further.  Inside one alternative it is greedy and gives characters back until the rest fits.  Giving back only ever
// matters in four places, and each has a direct answer:
//
//  * Alternatives 1, 4, 5 and 8 are runs.  What follows a run is optional or cannot begin with a character of the run,
//    so the first try is final.
//
//  * U* D+ in alternative 2.  Uncased letters and marks are in both U and D, so the greedy U* may swallow what D+
//    needs.  Let the run of U end at q.  If the character at q is in D, nothing is given back and D+ runs on from q:
//
//        HelloWorld      U* = H          D+ = ello               piece "Hello"
//        ABCdef          U* = ABC        D+ = def                piece "ABCdef"
//
//    Otherwise U* gives back one character at a time until it has given back one that is in D.  D+ takes that one and
//    stops there, for the next is in U alone (or it would have been met first).  So the piece ends after the last
//    character of the U run that is also in D, which one pass finds by remembering where it was:
//
//        あA.            U* = あA, then '.' is not in D; A is not in D; あ is     piece "あ", next piece "A"
//        Aあ.            U* = Aあ, then '.' is not in D; あ is                    piece "Aあ"
//
//    If the run holds no such character, alternative 2 fails and alternative 3 takes the whole run (its D* is empty):
//
//        ABC.            piece "ABC"
//
//  * The optional lead [^\r\n\p{L}\p{N}]? of 2 and 3.  Taken first if it can be; given back if the rest then fails.
//    Without it the word would have to begin with the lead itself, and only a mark can do that.  A mark is in D, so
//    alternative 2 then matches without a lead, before alternative 3 is tried with one:
//
//        U+0301 A        lead = U+0301, A is not in D: fail; lead empty, U* D+ = U+0301: piece "U+0301", next piece "A"
//        ! U+0301 a      lead = !, U* = U+0301, D+ = a                            one piece
//
//  * \s*[\r\n]+ and \s+(?!\S).  6 gives back blanks until it has given back a line end: it reaches to the last CR or LF
//    of the run of blanks.  7 gives back one blank if something follows the run, and fails if that was the only one:
//
//        "a  \n  b"      6: "  \n"   7: " "   2: " b" with the second blank as its lead
//        "a  1"          7: " "   8: " "   4: "1"
#include "text/pretokenizer.h"

#include "text/unicode.h"

namespace kl {
namespace {

/// The class of what is read beyond the last character.  It is in no other class, so every run stops there.
constexpr std::uint32_t kEnd = 1u << 31;

/// What 5 calls [^\s\p{L}\p{N}]: in none of these.
constexpr std::uint32_t kNotSymbol = kWhitespace | kLetter | kNumber | kEnd;

/// One match of the pattern at the start of a text; the comment at the top says how.
class Scanner {
 public:
  explicit Scanner(std::string_view text) noexcept : begin_(text.data()), end_(text.data() + text.size()) {}

  const char* first_piece_end() const noexcept;

 private:
  /// U* D+ from some place: where alternative 2 ends (null if it fails) and where the run of U ends.
  struct Word {
    const char* with_lower;
    const char* upper_run;
  };

  Character at(const char* p) const noexcept { return p == end_ ? Character{kEnd, 0} : read_character(p); }
  bool is_line_end(const char* p) const noexcept { return p != end_ && (*p == '\r' || *p == '\n'); }

  const char* run_end(const char* p, std::uint32_t classes) const noexcept {
    for (Character c = at(p); c.classes & classes; c = at(p)) p += c.bytes;
    return p;
  }

  Word scan_word(const char* p) const noexcept;
  const char* word_end(Character first) const noexcept;
  const char* suffix_end(const char* p) const noexcept;
  const char* number_end() const noexcept;
  const char* symbols_end() const noexcept;
  const char* blanks_end() const noexcept;

  const char* begin_;
  const char* end_;
};

Scanner::Word Scanner::scan_word(const char* p) const noexcept {
  const char* after_last_both = nullptr;
  Character c = at(p);
  while (c.classes & kUpper) {
    p += c.bytes;
    if (c.classes & kLower) after_last_both = p;
    c = at(p);
  }
  if (c.classes & kLower) return {run_end(p + c.bytes, kLower), p};
  return {after_last_both, p};
}

/// (?i:'s|'t|'re|'ve|'m|'ll|'d)?  Case folding adds one character to ASCII here: U+017F, the long s (C5 BF).
const char* Scanner::suffix_end(const char* p) const noexcept {
  if (end_ - p < 2 || *p != '\'') return p;
  const auto lower = [](char c) { return static_cast<char>(c | 0x20); };
  const char first = lower(p[1]);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return p + 2;
  if (end_ - p < 3) return p;
  if (p[1] == '\xC5' && p[2] == '\xBF') return p + 3;
  const char second = lower(p[2]);
  const bool is_suffix =
      (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l');
  return is_suffix ? p + 3 : p;
}

/// Alternatives 2 and 3; null if both fail.
const char* Scanner::word_end(Character first) const noexcept {
  const bool can_lead = !(first.classes & (kLetter | kNumber)) && !is_line_end(begin_);
  const char* start = can_lead ? begin_ + first.bytes : begin_;
  Word word = scan_word(start);
  if (word.with_lower == nullptr && can_lead && (first.classes & kLower)) word = scan_word(begin_);
  if (word.with_lower != nullptr) return suffix_end(word.with_lower);
  return word.upper_run != start ? suffix_end(word.upper_run) : nullptr;
}

/// Alternative 4: at most three numbers.
const char* Scanner::number_end() const noexcept {
  const char* p = begin_;
  for (int i = 0; i < 3; ++i) {
    const Character c = at(p);
    if (!(c.classes & kNumber)) break;
    p += c.bytes;
  }
  return p;
}

/// Alternative 5; null if it fails.
const char* Scanner::symbols_end() const noexcept {
  const char* start = *begin_ == ' ' ? begin_ + 1 : begin_;
  const char* p = start;
  for (Character c = at(p); !(c.classes & kNotSymbol); c = at(p)) p += c.bytes;
  if (p == start) return nullptr;
  while (is_line_end(p)) ++p;
  return p;
}

/// Alternatives 6, 7 and 8.
const char* Scanner::blanks_end() const noexcept {
  const char* p = begin_;
  const char* before_last = begin_;
  const char* after_line_end = nullptr;
  for (Character c = at(p); c.classes & kWhitespace; c = at(p)) {
    before_last = p;
    p += c.bytes;
    if (is_line_end(before_last)) after_line_end = p;
  }
  if (after_line_end != nullptr) return after_line_end;
  if (p == end_ || before_last == begin_) return p;
  return before_last;
}

const char* Scanner::first_piece_end() const noexcept {
  const Character first = at(begin_);
  if (first.classes & kHan) return run_end(begin_, kHan);
  if (const char* end = word_end(first)) return end;
  if (first.classes & kNumber) return number_end();
  if (const char* end = symbols_end()) return end;
  return blanks_end();
}

}  // namespace

std::size_t first_piece(std::string_view text) noexcept {
  return static_cast<std::size_t>(Scanner(text).first_piece_end() - text.data());
}

}  // namespace kl
