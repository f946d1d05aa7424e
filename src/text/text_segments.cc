#include "text/text_segments.h"

#include "text/unicode.h"

namespace kl {
namespace {

constexpr std::size_t kWindow = 400'000;     // code points
constexpr std::size_t kLongestRun = 25'000;  // code points

}  // namespace

std::string_view TextSegments::next() noexcept {
  if (window_left_ == 0) window_left_ = kWindow;
  std::size_t end = rest_.size();
  // A code point has at least one byte, so a shorter text cannot reach either limit.
  if (rest_.size() > kLongestRun || rest_.size() > window_left_) {
    std::size_t run = 0;
    std::uint32_t run_is_space = 0;
    for (end = 0; end < rest_.size() && window_left_ > 0; --window_left_) {
      const Character c = read_character(rest_.data() + end);
      const std::uint32_t is_space = c.classes & kPythonSpace;
      run = is_space == run_is_space ? run + 1 : 1;
      run_is_space = is_space;
      if (run > kLongestRun) break;
      end += c.bytes;
    }
  }
  const std::string_view segment = rest_.substr(0, end);
  rest_.remove_prefix(end);
  return segment;
}

}  // namespace kl
