#include "base/stop_filter.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace kl {
namespace {

/// The text of any split is the text before the first stop string.
TEST(StopFilter, DoesNotDependOnHowTheTextIsSplit) {
  const std::string text = "aabaabcaabaad\xc3\xa9xyz";
  const std::vector<std::vector<std::string>> stops = {{"aabaad"},  {"abc", "aabc"}, {"\xc3\xa9"},
                                                       {"nowhere"}, {"d", "ad"},     {"aab"}};
  for (const auto& list : stops) {
    std::size_t end = text.size();
    for (const std::string& stop : list) end = std::min(end, text.find(stop));
    for (unsigned cuts = 0; cuts < 1u << 10; ++cuts) {
      StopFilter filter(list);
      std::string shown, piece;
      for (std::size_t i = 0; i < text.size() && !filter.hit(); ++i) {
        piece += text[i];
        if (i < 10 && !(cuts >> i & 1)) continue;
        shown += filter.push(piece);
        piece.clear();
        ASSERT_LE(shown.size(), end);
      }
      if (!filter.hit()) shown += filter.flush();
      ASSERT_EQ(shown, text.substr(0, end)) << cuts;
    }
  }
}

}  // namespace
}  // namespace kl
