#include "text/pretokenizer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/text/literal_pattern.h"

namespace kl {
namespace {

std::vector<std::string> pieces_of(std::string_view text) {
  std::vector<std::string> pieces;
  while (!text.empty()) {
    pieces.emplace_back(text.substr(0, first_piece(text)));
    text.remove_prefix(pieces.back().size());
  }
  return pieces;
}

using Pieces = std::vector<std::string>;

TEST(Pretokenizer, SplitsWhereLowerCaseTurnsUpper) {
  EXPECT_EQ(pieces_of("HelloWorld"), (Pieces{"Hello", "World"}));
  EXPECT_EQ(pieces_of("ABCdef"), (Pieces{"ABCdef"}));
  EXPECT_EQ(pieces_of("HTTPServer"), (Pieces{"HTTPServer"}));
  EXPECT_EQ(pieces_of("getID()"), (Pieces{"get", "ID", "()"}));
}

TEST(Pretokenizer, GivesBackUncasedLettersToTheLowerCasePart) {
  EXPECT_EQ(pieces_of("あA"), (Pieces{"あ", "A"}));
  EXPECT_EQ(pieces_of("Aあ"), (Pieces{"Aあ"}));
  EXPECT_EQ(pieces_of("あAあA"), (Pieces{"あAあ", "A"}));
  EXPECT_EQ(pieces_of("ʰA"), (Pieces{"ʰ", "A"}));
}

TEST(Pretokenizer, TakesOneLeadCharacterUnlessTheWordNeedsIt) {
  EXPECT_EQ(pieces_of(" a\tb!c"), (Pieces{" a", "\tb", "!c"}));
  EXPECT_EQ(pieces_of("!\u0301a"), (Pieces{"!\u0301a"}));
  EXPECT_EQ(pieces_of("\u0301A"), (Pieces{"\u0301", "A"}));
  EXPECT_EQ(pieces_of("\na"), (Pieces{"\n", "a"}));
}

TEST(Pretokenizer, AttachesOneEnglishSuffix) {
  EXPECT_EQ(pieces_of("I'm'm"), (Pieces{"I'm", "'m"}));
  EXPECT_EQ(pieces_of("WE'LL"), (Pieces{"WE'LL"}));
  EXPECT_EQ(pieces_of("it'\u017F"), (Pieces{"it'\u017F"}));
  EXPECT_EQ(pieces_of("it\u2019s"), (Pieces{"it", "\u2019s"}));
  EXPECT_EQ(pieces_of("we'"), (Pieces{"we", "'"}));
}

TEST(Pretokenizer, TreatsHanThatIsNoLetterByWhereItStands) {
  EXPECT_EQ(pieces_of("〇1"), (Pieces{"〇", "1"}));
  EXPECT_EQ(pieces_of("1〇"), (Pieces{"1〇"}));
  EXPECT_EQ(pieces_of("!⺀"), (Pieces{"!⺀"}));
  EXPECT_EQ(pieces_of("!中"), (Pieces{"!", "中"}));
}

TEST(Pretokenizer, LeavesTheLastBlankToTheNextPiece) {
  EXPECT_EQ(pieces_of("a  b"), (Pieces{"a", " ", " b"}));
  EXPECT_EQ(pieces_of("a  "), (Pieces{"a", "  "}));
  EXPECT_EQ(pieces_of("a  \n  b"), (Pieces{"a", "  \n", " ", " b"}));
  EXPECT_EQ(pieces_of("a  1"), (Pieces{"a", " ", " ", "1"}));
  EXPECT_EQ(pieces_of(" !\r\n\n "), (Pieces{" !\r\n\n", " "}));
}

// One character of every combination of classes that the pattern can tell apart, and the characters it names.
const std::vector<std::string> kAlphabet = {"a",          "s", "A", "L",  "あ", "\u0301", "中", "⺀", "〇",
                                            "\U00016FF0", "1", " ", "\n", "\r", "\u00A0", "!",  "'",  "\u017F"};

void expect_literal_pieces(std::string_view text) {
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t expected = test::LiteralPattern(rest).first_piece();
    ASSERT_EQ(first_piece(rest), expected) << "in \"" << text << "\" at \"" << rest << '"';
    rest.remove_prefix(expected);
  }
}

void expect_literal_pieces_of_all(std::string& text, int more) {
  if (more == 0) return expect_literal_pieces(text);
  for (const std::string& character : kAlphabet) {
    text += character;
    expect_literal_pieces_of_all(text, more - 1);
    text.resize(text.size() - character.size());
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Pretokenizer, AgreesWithThePatternOnAllShortStrings) {
  std::string text;
  for (int length = 1; length <= 4; ++length) expect_literal_pieces_of_all(text, length);
}

TEST(Pretokenizer, AgreesWithThePatternOnLongerRandomStrings) {
  std::mt19937 random(1);
  for (int i = 0; i < 3000 && !HasFatalFailure(); ++i) {
    std::string text;
    for (int k = 0; k < 12; ++k) text += kAlphabet[random() % kAlphabet.size()];
    expect_literal_pieces(text);
  }
}

}  // namespace
}  // namespace kl
