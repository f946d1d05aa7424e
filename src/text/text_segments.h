#pragma once
#include <cstddef>
#include <string_view>

namespace kl {

/// Cuts a long text where the reference tokenizer cuts it before anything else looks at it.  What follows sees only one
/// segment: no token, piece or control token reaches over a cut, and blanks before one are at the end of a text.
///
/// Two rules, both counted in code points:
///   (1) a cut every 400,000;
///   (2) a cut before the code point that would make a run of equal isspace() longer than 25,000.  The count of the
///       run starts again at 1 after each cut of either kind.
///
///     25,001 times "a"  →  25,000 times "a"  |  "a"
///
/// isspace() is Python's, which counts U+001C..U+001F as blanks although the pattern's \s does not.
class TextSegments {
 public:
  /// `text` is well-formed UTF-8.
  explicit TextSegments(std::string_view text) : rest_(text) {}

  /// The next segment; empty when there is none left.
  std::string_view next() noexcept;

 private:
  std::string_view rest_;
  std::size_t window_left_ = 0;  // code points until rule (1) cuts; 0: a window begins
};

}  // namespace kl
