#include "engine/state_store.h"

#include <gtest/gtest.h>

#include "model/sequence_state.h"

namespace kl {
namespace {

constexpr const char* kDemo = KL_SOURCE_DIR "/models/demo";

/// Texts are strings; each letter is a token.
class StateStoreTest : public testing::Test {
 protected:
  static std::vector<ReadToken> text(const std::string& letters) {
    std::vector<ReadToken> tokens;
    for (const char c : letters)
      tokens.emplace_back(static_cast<Token>(c), c >= 'A' && c <= 'Z' ? MlaForm::kExpanded : MlaForm::kAbsorbed);
    return tokens;
  }
  SequenceState state(const std::string& letters) {
    SequenceState s = model_.make_cache();
    std::vector<Token> tokens;
    for (const ReadToken t : text(letters)) tokens.push_back(t.token());
    model_.forward(s, tokens);
    return s;
  }
  void keep(StateStore& store, const std::string& letters) { store.keep(text(letters), state(letters)); }
  std::int64_t found(StateStore& store, const std::string& letters, std::int64_t most = 1000) {
    const auto f = store.find(text(letters), std::min(most, static_cast<std::int64_t>(letters.size())));
    EXPECT_EQ(f.state.num_tokens(), f.tokens);
    return f.tokens;
  }

  Model model_ = Model::open(kDemo, {.threads = 1, .isa = {}, .chunk_tokens = 64});
};

TEST_F(StateStoreTest, FindsTheLongestBeginning) {
  StateStore store(1u << 30);
  for (const char* t : {"abc", "abcdef", "abcxyz", "q"}) keep(store, t);
  EXPECT_EQ(found(store, "abcdefgh"), 6);
  EXPECT_EQ(found(store, "abcdefgh", 5), 3) << "no more than asked for";
  EXPECT_EQ(found(store, "abcdxx"), 3);
  EXPECT_EQ(found(store, "abcxyz"), 6);
  EXPECT_EQ(found(store, "ab"), 0);
  EXPECT_EQ(found(store, "zz"), 0);
  EXPECT_EQ(found(store, "qq"), 1);
}

TEST_F(StateStoreTest, ATokenReadInAnotherFormIsAnotherToken) {
  StateStore store(1u << 30);
  std::vector<ReadToken> other = text("abc");
  other[1] = ReadToken(other[1].token(), MlaForm::kExpanded);
  keep(store, "abc");
  EXPECT_EQ(store.find(other, 3).tokens, 0);
}

TEST_F(StateStoreTest, SaysWhyNotMore) {
  StateStore store(1u << 30);
  keep(store, "abcdef");
  EXPECT_EQ(store.find(text("abcdef"), 6).miss, CacheMiss::kNone);
  EXPECT_EQ(store.find(text("abcdxx"), 6).miss, CacheMiss::kDiverged);
  EXPECT_EQ(store.find(text("xyz"), 3).miss, CacheMiss::kCold);
  EXPECT_EQ(store.find(text("abcde"), 4).miss, CacheMiss::kNotKept) << "read before, kept only at its end";
}

TEST_F(StateStoreTest, CountsSharedLatentsOnce) {
  const std::string long_text(300, 'a');
  SequenceState s = state(long_text);
  StateStore store(1u << 30);
  store.keep(text(long_text), s);
  const std::size_t one = store.bytes();
  const std::vector<Token> more = {5, 6, 7};
  model_.forward(s, more);
  std::vector<ReadToken> longer = text(long_text);
  for (const Token t : more) longer.emplace_back(t, MlaForm::kAbsorbed);
  const std::size_t full = s.bytes();
  store.keep(longer, std::move(s));
  EXPECT_LT(store.bytes() - one, full * 3 / 4) << "two of three latent blocks are those of the first";
}

TEST_F(StateStoreTest, StatesComputedApartComeToShareTheirBeginning) {
  const std::string head(256, 'h');
  StateStore store(1u << 30);
  keep(store, head);
  const std::size_t one = store.bytes();
  keep(store, head + "tail");
  const SequenceState s = state(head + "tail");
  EXPECT_LT(store.bytes() - one, s.bytes() * 3 / 4);
}

TEST_F(StateStoreTest, StaysWithinItsBudgetAndThinsOut) {
  const std::size_t one = state("a").bytes();
  StateStore store(one * 6);
  std::string t;
  for (int i = 0; i < 40; ++i) {
    t += std::string(10, static_cast<char>('a' + i % 26));
    keep(store, t);
    EXPECT_LE(store.bytes(), store.budget());
  }
  EXPECT_GT(store.num_evicted(), 20u);
  EXPECT_GE(store.size(), 2u);
  const auto along = store.along(text(t));
  ASSERT_GE(along.size(), 2u) << "a ladder is left, not its top alone";
  EXPECT_EQ(along.back()->num_tokens(), 400) << "the newest is there";
  EXPECT_EQ(store.find(text(t + "x"), 400).tokens, 400);
  const auto early = store.find(text(t), 395);
  EXPECT_EQ(early.miss, CacheMiss::kEvicted);
}

TEST_F(StateStoreTest, AStateBiggerThanTheBudgetEvictsNobody) {
  const std::size_t one = state("a").bytes();
  StateStore store(one + 4096);
  keep(store, "a");
  keep(store, std::string(400, 'b'));
  EXPECT_EQ(found(store, "ab"), 1);
  EXPECT_EQ(store.num_evicted(), 0u);
}

TEST_F(StateStoreTest, ForgetsATextButNotWhatOthersShare) {
  StateStore store(1u << 30);
  for (const char* t : {"abc", "abcdef", "abcxyz"}) keep(store, t);
  store.forget(text("abcdef"));
  EXPECT_EQ(found(store, "abcdef"), 3);
  EXPECT_EQ(found(store, "abcxyz"), 6);
  store.forget(text("abcxyz"));
  EXPECT_EQ(store.size(), 0u);
  EXPECT_EQ(store.bytes(), 0u) << "nothing is left behind";
}

TEST_F(StateStoreTest, ForgetsAForkThatHoldsNothingItself) {
  StateStore store(1u << 30);
  for (const char* t : {"abcdef", "abcxyz"}) keep(store, t);
  store.forget(text("abcdef"));
  EXPECT_EQ(found(store, "abcxyz"), 6);
  store.forget(text("abcxyz"));
  EXPECT_EQ(store.size(), 0u);
  EXPECT_EQ(store.bytes(), 0u);
}

TEST_F(StateStoreTest, TextsOfEvictedStatesDoNotEatTheBudget) {
  const std::size_t one = state("a").bytes();
  StateStore store(one * 3);
  const SequenceState s = state("a");  // of one token, whatever the text: only its bytes count here
  for (int i = 0; i < 200; ++i) {      // long texts that differ from the first token on
    std::vector<ReadToken> t = text(std::string(one / 64, 'b'));
    t[0] = ReadToken(static_cast<Token>(1000 + i), MlaForm::kAbsorbed);
    store.keep(t, s);
  }
  EXPECT_LE(store.bytes(), store.budget());
  std::vector<ReadToken> newest = text(std::string(one / 64, 'b'));
  newest[0] = ReadToken(Token{1199}, MlaForm::kAbsorbed);
  EXPECT_TRUE(store.has(newest));
}

/// Against a plain list of texts, over random texts of a small alphabet.
TEST_F(StateStoreTest, RandomTextsAgreeWithAPlainList) {
  StateStore store(1u << 30);
  std::vector<std::string> kept;
  unsigned seed = 1;
  const auto next = [&] { return (seed = seed * 1664525u + 1013904223u) >> 16; };
  const auto random_text = [&] {
    std::string t(1 + next() % 9, 'a');
    for (char& c : t) c = static_cast<char>('a' + next() % 2);
    return t;
  };
  for (int i = 0; i < 300; ++i) {
    const std::string t = random_text();
    if (next() % 3 == 0) {
      keep(store, t);
      kept.push_back(t);
    }
    std::size_t best = 0;
    for (const std::string& k : kept)
      if (t.starts_with(k)) best = std::max(best, k.size());
    ASSERT_EQ(found(store, t), static_cast<std::int64_t>(best)) << t;
  }
}

}  // namespace
}  // namespace kl
