#include "text/vocabulary.h"

#include <gtest/gtest.h>

#include <string>

#include "base/base64.h"
#include "kl/error.h"
#include "tests/text/small_vocabulary.h"

namespace kl {
namespace {

using test::bytes_only_model;

/// The lines of a sound file of 256 single bytes and "ab", one of them replaced.
std::string with_line(std::size_t line, const std::string& replacement) {
  std::string text = bytes_only_model() + "YWI= 256\n";
  std::size_t begin = 0;
  for (std::size_t i = 1; i < line; ++i) begin = text.find('\n', begin) + 1;
  return text.replace(begin, text.find('\n', begin) - begin, replacement);
}

/// Parsing fails as corrupt, and the message begins with the place and holds the rest.
void expect_corrupt(const std::string& text, const std::string& place, const std::string& part) {
  try {
    Vocabulary::parse(text, "dir/tiktoken.model");
    ADD_FAILURE() << "expected an error at " << place;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    EXPECT_EQ(std::string(error.what()).rfind("dir/tiktoken.model:" + place + ": expected ", 0), 0u) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(Vocabulary, FindsEveryTokenAndNothingElse) {
  const std::string text = test::read_text(test::small_model_dir() / "tiktoken.model");
  const Vocabulary vocabulary = Vocabulary::parse(text, "small");
  ASSERT_GT(vocabulary.size(), 600u);
  for (std::uint32_t rank = 0; rank < vocabulary.size(); ++rank) {
    const std::string token(vocabulary.bytes_of(rank));
    EXPECT_EQ(vocabulary.rank_of(token), rank);
    const std::uint32_t longer = vocabulary.rank_of(token + '\xFE');
    EXPECT_EQ(longer, Vocabulary::kNoRank);
  }
  EXPECT_EQ(vocabulary.rank_of(""), Vocabulary::kNoRank);
  EXPECT_EQ(vocabulary.rank_of(std::string(100'000, 'a')), Vocabulary::kNoRank);
}

TEST(Vocabulary, TellsTokensApartThatDifferInOneByteAnywhere) {
  std::string text = bytes_only_model();
  std::vector<std::string> tokens;
  for (const std::size_t size : {2u, 3u, 4u, 7u, 8u, 9u, 15u, 16u, 17u, 40u}) {
    for (std::size_t i = 0; i < size; ++i) {
      std::string token(size, '\0');
      token[i] = '\1';
      tokens.push_back(token);
      text += test::base64_of(token) + " " + std::to_string(255 + tokens.size()) + "\n";
    }
  }
  const Vocabulary vocabulary = Vocabulary::parse(text, "small");
  for (std::size_t i = 0; i < tokens.size(); ++i) EXPECT_EQ(vocabulary.rank_of(tokens[i]), 256 + i);
  EXPECT_EQ(vocabulary.rank_of(std::string(16, '\0')), Vocabulary::kNoRank);
}

TEST(Vocabulary, NeedsNoNewlineAtTheEnd) {
  std::string text = bytes_only_model();
  text.pop_back();
  EXPECT_EQ(Vocabulary::parse(text, "small").size(), 256u);
}

TEST(Vocabulary, NamesFileAndLineOfBadBase64) {
  expect_corrupt(with_line(257, "YW* 256"), "257", "YW*");
  expect_corrupt(with_line(257, "YWI 256"), "257", "base64");
  expect_corrupt(with_line(257, "YW=I 256"), "257", "base64");
  expect_corrupt(with_line(257, "YWJ= 256"), "257", "base64");  // a bit beyond the last byte
  expect_corrupt(with_line(257, "==== 256"), "257", "base64");
  expect_corrupt(with_line(257, "\xC3\xA9== 256"), "257", "base64");
}

TEST(Vocabulary, NamesFileAndLineOfRanksOutOfOrder) {
  expect_corrupt(with_line(257, "YWI= 255"), "257", "expected rank 256, got \"255\"");  // a rank twice
  expect_corrupt(with_line(257, "YWI= 257"), "257", "expected rank 256, got \"257\"");  // a gap
  expect_corrupt(with_line(1, "AA== 1"), "1", "expected rank 0");
  expect_corrupt(with_line(257, "YWI= -1"), "257", "\"-1\"");
  expect_corrupt(with_line(257, "YWI= 0256"), "257", "\"0256\"");
  expect_corrupt(with_line(257, "YWI= 99999999999999999999"), "257", "99999");
}

TEST(Vocabulary, NamesFileAndLineOfOtherBreaches) {
  expect_corrupt(with_line(257, "YWI= 256 "), "257", "\"256 \"");  // blanks behind the rank
  expect_corrupt(with_line(257, "YWI= 256\r"), "257", "\\x0d");
  expect_corrupt(with_line(257, "YWI=  256"), "257", "\" 256\"");
  expect_corrupt(with_line(257, "YWI=\t256"), "257", "base64 rank");
  expect_corrupt(with_line(257, "YWI="), "257", "base64 rank");
  expect_corrupt(with_line(257, " 256"), "257", "at least one byte");
  expect_corrupt(with_line(100, ""), "100", "base64 rank");
  expect_corrupt(with_line(257, "YQ== 256"), "257", "bytes of rank 97 again");
  expect_corrupt(with_line(98, "YWE= 97"), "257", "none for 0x61");  // "aa" where "a" should be
  expect_corrupt("", "1", "an empty file");
  expect_corrupt("\n", "1", "base64 rank");
  expect_corrupt("AA== 0\n", "1", "none for 0x01");
  expect_corrupt("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "1", "version");
  expect_corrupt(std::string("\0\0\0\0", 4), "1", "\\x00");
}

TEST(Vocabulary, ShortensAHugeLineInItsMessage) {
  expect_corrupt(with_line(257, std::string(10'000'000, 'A')), "257", "...");
  expect_corrupt(with_line(257, std::string(8'000, 'A') + " 256"), "257", "at most 4096 bytes, got 6000");
  try {
    Vocabulary::parse(std::string(10'000'000, '\xFF'), "m");
    ADD_FAILURE() << "expected an error";
  } catch (const Error& error) {
    EXPECT_LT(std::string(error.what()).size(), 400u);
  }
}

TEST(Base64, DecodesTheExamplesOfTheStandard) {
  const auto decoded = [](std::string_view base64) {
    std::string bytes;
    EXPECT_TRUE(append_base64(base64, bytes)) << base64;
    return bytes;
  };
  EXPECT_EQ(decoded(""), "");
  EXPECT_EQ(decoded("Zg=="), "f");
  EXPECT_EQ(decoded("Zm8="), "fo");
  EXPECT_EQ(decoded("Zm9v"), "foo");
  EXPECT_EQ(decoded("Zm9vYg=="), "foob");
  EXPECT_EQ(decoded("Zm9vYmE="), "fooba");
  EXPECT_EQ(decoded("Zm9vYmFy"), "foobar");
  EXPECT_EQ(decoded("+/+/"), "\xFB\xFF\xBF");
}

}  // namespace
}  // namespace kl
