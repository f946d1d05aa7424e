#include "text/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "tests/text/small_vocabulary.h"

namespace kl {
namespace {

/// The definition, word by word: of all neighbours that are a token together, merge those of the lowest rank, the
/// leftmost first.
std::vector<Token> merged_by_definition(const Vocabulary& vocabulary, const std::string& piece) {
  if (const std::uint32_t whole = vocabulary.rank_of(piece); whole != Vocabulary::kNoRank)
    return {static_cast<Token>(whole)};
  std::vector<std::string> parts;
  for (const char byte : piece) parts.emplace_back(1, byte);
  while (true) {
    std::uint32_t least = Vocabulary::kNoRank;
    std::size_t place = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const std::uint32_t rank = vocabulary.rank_of(parts[i] + parts[i + 1]);
      if (rank < least) least = rank, place = i;
    }
    if (least == Vocabulary::kNoRank) break;
    parts[place] += parts[place + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
  std::vector<Token> ids;
  for (const std::string& part : parts) ids.push_back(static_cast<Token>(vocabulary.rank_of(part)));
  return ids;
}

std::vector<Token> encode(const Vocabulary& vocabulary, const std::string& piece) {
  std::vector<Token> ids;
  BpeEncoder(vocabulary, piece.size(), ids).append(piece);
  return ids;
}

/// Tokens over three letters, in random order, so that merges often compete and ranks say nothing about length.
Vocabulary random_vocabulary(std::mt19937& random) {
  std::string text = test::bytes_only_model();
  std::vector<std::string> tokens;
  for (int i = 0; i < 60; ++i) {
    std::string token;
    for (std::size_t k = 2 + random() % 5; k > 0; --k) token += static_cast<char>('a' + random() % 3);
    if (std::find(tokens.begin(), tokens.end(), token) == tokens.end()) tokens.push_back(token);
  }
  for (std::size_t i = 0; i < tokens.size(); ++i)
    text += test::base64_of(tokens[i]) + " " + std::to_string(256 + i) + "\n";
  return Vocabulary::parse(text, "random");
}

TEST(Bpe, MergesTheLowestRankFirst) {
  const std::string model = test::bytes_only_model() + "ZXI= 256\nbG8= 257\nbG93 258\n";  // er, lo, low
  const Vocabulary vocabulary = Vocabulary::parse(model, "example");
  EXPECT_EQ(encode(vocabulary, "lower"), (std::vector<Token>{258, 256}));
}

TEST(Bpe, MergesTheLeftmostOfEquals) {
  const Vocabulary vocabulary = Vocabulary::parse(test::bytes_only_model() + "YWE= 256\n", "example");  // aa
  EXPECT_EQ(encode(vocabulary, "aaa"), (std::vector<Token>{256, 'a'}));
}

TEST(Bpe, TakesAPieceThatIsATokenWhole) {
  // "abc" cannot be reached by merging: neither "ab" nor "bc" is a token.
  const Vocabulary vocabulary = Vocabulary::parse(test::bytes_only_model() + "YWJj 256\n", "example");
  EXPECT_EQ(encode(vocabulary, "abc"), (std::vector<Token>{256}));
  EXPECT_EQ(encode(vocabulary, "abcc"), (std::vector<Token>{'a', 'b', 'c', 'c'}));
}

TEST(Bpe, EqualsTheDefinitionOnShortAndLongPieces) {
  std::mt19937 random(1);
  for (int round = 0; round < 40; ++round) {
    const Vocabulary vocabulary = random_vocabulary(random);
    for (const std::size_t size : {1u, 2u, 5u, 17u, 63u, 64u, 65u, 66u, 200u}) {
      std::string piece;
      for (std::size_t i = 0; i < size; ++i) piece += static_cast<char>('a' + random() % 3);
      EXPECT_EQ(encode(vocabulary, piece), merged_by_definition(vocabulary, piece)) << piece;
    }
  }
}

TEST(Bpe, GivesARepeatedPieceTheSameIds) {
  std::mt19937 random(2);
  const Vocabulary vocabulary = random_vocabulary(random);
  std::vector<std::string> pieces;
  std::vector<Token> expected;
  for (int i = 0; i < 300; ++i) {
    std::string piece;
    for (std::size_t k = 1 + random() % 6; k > 0; --k) piece += static_cast<char>('a' + random() % 3);
    pieces.push_back(piece);
    const std::vector<Token> ids = merged_by_definition(vocabulary, piece);
    expected.insert(expected.end(), ids.begin(), ids.end());
  }
  std::vector<Token> ids;
  BpeEncoder encoder(vocabulary, 1000, ids);
  for (const std::string& piece : pieces) encoder.append(piece);
  EXPECT_EQ(ids, expected);
}

}  // namespace
}  // namespace kl
