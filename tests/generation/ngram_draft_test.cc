#include "generation/ngram_draft.h"

#include <gtest/gtest.h>

#include "tests/support/random.h"

namespace kl::test {
namespace {

using Tokens = std::vector<Token>;

NgramDraft drafter(const Tokens& text) {
  NgramDraft draft;
  draft.append(text);
  return draft;
}

/// Looks everywhere: what the chains must find while they hold no more than kMostCandidates places.
Draft search(const Tokens& text, int most) {
  Draft best;
  std::size_t found = 0;
  for (std::size_t end = 1; end < text.size(); ++end) {
    int match = 0;
    while (match < NgramDraft::kMostMatch && static_cast<std::size_t>(match) < end &&
           text[end - 1 - static_cast<std::size_t>(match)] == text[text.size() - 1 - static_cast<std::size_t>(match)])
      ++match;
    if (match < NgramDraft::kLeastMatch || match < best.match) continue;
    best.match = match;
    found = end;
  }
  for (int i = 0; best.match > 0 && i < most; ++i) {
    const std::size_t at = found + static_cast<std::size_t>(i);
    best.tokens.push_back(at < text.size() ? text[at] : best.tokens[at - text.size()]);
  }
  return best;
}

TEST(NgramDraft, GoesOnAsTheLongestMatchDid) {
  const Draft draft = drafter({1, 2, 3, 4, 5, 9, 2, 3, 7, 7, 1, 2, 3}).draft(3);
  EXPECT_EQ(draft.match, 3) << "1 2 3 rather than the newer 2 3";
  EXPECT_EQ(draft.tokens, (Tokens{4, 5, 9}));
}

TEST(NgramDraft, OfEqualMatchesTheNewestCounts) {
  EXPECT_EQ(drafter({1, 2, 8, 1, 2, 9, 1, 2}).draft(1).tokens, Tokens{9});
}

TEST(NgramDraft, RepetitionGoesOnBeyondTheEndOfTheText) {
  EXPECT_EQ(drafter({5, 1, 2, 3, 1, 2, 3, 1, 2}).draft(7).tokens, (Tokens{3, 1, 2, 3, 1, 2, 3}));
  EXPECT_EQ(drafter({4, 4, 4}).draft(4).tokens, (Tokens{4, 4, 4, 4}));
}

TEST(NgramDraft, HasNoIdeaWithoutAMatch) {
  for (const Tokens& text : {Tokens{}, Tokens{1}, Tokens{1, 1}, Tokens{1, 2, 3}, Tokens{1, 2, 3, 2}}) {
    const Draft draft = drafter(text).draft(8);
    EXPECT_TRUE(draft.tokens.empty());
    EXPECT_EQ(draft.match, 0);
  }
  EXPECT_TRUE(drafter({1, 2, 3, 1, 2}).draft(0).tokens.empty());
}

TEST(NgramDraft, FindsWhatASearchFindsHoweverTheTextCameIn) {
  Random random(1);
  for (int round = 0; round < 300; ++round) {
    const std::ptrdiff_t alphabet = 4 + random.below(12), length = random.below(300);
    NgramDraft draft;
    Tokens text, piece;
    while (std::ssize(text) < length) {
      piece.clear();
      for (std::ptrdiff_t n = random.below(9); n >= 0; --n) piece.push_back(static_cast<Token>(random.below(alphabet)));
      if (random.below(3) == 0 && text.size() > 20) piece.assign(text.end() - 20, text.end() - random.below(20));
      draft.append(piece);
      text.insert(text.end(), piece.begin(), piece.end());
      const Draft expected = search(text, 6), actual = draft.draft(6);
      ASSERT_EQ(actual.match, expected.match) << "round " << round << ", " << text.size() << " tokens";
      ASSERT_EQ(actual.tokens, expected.tokens);
    }
  }
}

TEST(NgramDraft, ChainOfAMillionPlacesIsNotWalked) {
  NgramDraft draft;
  const Tokens pair = {1, 2, 3};
  for (int i = 0; i < 300'000; ++i) {
    draft.append(pair);
    ASSERT_EQ(draft.draft(1).match, i == 0 ? 0 : std::min(3 * i, NgramDraft::kMostMatch));
  }
}

}  // namespace
}  // namespace kl::test
