#include "base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace kl {
namespace {

TEST(Utf8, AcceptsEveryScalarValue) {
  for (std::uint32_t c = 0; c < 0x110000; ++c) {
    const std::string bytes = to_utf8(c);
    const Utf8Unit unit = next_utf8(bytes);
    const bool is_surrogate = 0xD800 <= c && c <= 0xDFFF;
    ASSERT_EQ(unit.kind == Utf8Unit::Kind::kCharacter, !is_surrogate) << c;
    if (is_surrogate) continue;
    ASSERT_EQ(unit.bytes, bytes.size());
    ASSERT_EQ(read_code_point(bytes.data()).bytes, bytes.size());
    ASSERT_EQ(read_code_point(bytes.data()).value, c);
    ASSERT_EQ(character_length(bytes[0]), bytes.size());
    ASSERT_EQ(last_character('a' + bytes), 1);
  }
}

TEST(Utf8, ReplacesEachMaximalSubpartOnce) {
  const std::string bad = "\uFFFD";
  EXPECT_EQ(replace_ill_formed("a\xFFz"), "a" + bad + "z");
  EXPECT_EQ(replace_ill_formed("\xC0\xAF"), bad + bad);            // overlong
  EXPECT_EQ(replace_ill_formed("\xE0\x80\x80"), bad + bad + bad);  // overlong: the second byte is out of range
  EXPECT_EQ(replace_ill_formed("\xED\xA0\x80"), bad + bad + bad);  // a surrogate
  EXPECT_EQ(replace_ill_formed("\xF4\x90\x80\x80"), bad + bad + bad + bad);  // beyond U+10FFFF
  EXPECT_EQ(replace_ill_formed("\xF0\x9F\x98z"), bad + "z");                 // three bytes that began well
  EXPECT_EQ(replace_ill_formed("\xF0\x9F\x98"), bad);
  EXPECT_EQ(replace_ill_formed("\xED\xA0"), bad + bad);
  EXPECT_EQ(replace_ill_formed("\xE4\xB8\xE4\xB8\xAD"), bad + "中");
}

TEST(Utf8, CountsCharacters) {
  EXPECT_EQ(count_characters(""), 0u);
  EXPECT_EQ(count_characters("aé中😀"), 4u);
  EXPECT_EQ(last_character("aé中😀"), 6u);
}

TEST(Utf8, FindsTheFirstIllFormedByteWhereverItStands) {
  for (std::size_t at = 0; at < 40; ++at) {
    std::string text(40, 'x');
    text[at] = '\x80';
    EXPECT_EQ(well_formed_prefix(text), at);
  }
  EXPECT_EQ(well_formed_prefix("中文"), 6u);
  EXPECT_EQ(well_formed_prefix("中\xE6\x96"), 3u);
  EXPECT_EQ(well_formed_prefix(""), 0u);
}

TEST(Utf8, LengthIsThatOfWellFormedCharactersOnly) {
  EXPECT_EQ(utf8_length("a"), 1u);
  EXPECT_EQ(utf8_length("\xc3\xa9"), 2u);
  EXPECT_EQ(utf8_length("\xef\xbf\xbd"), 3u);
  EXPECT_EQ(utf8_length("\xf4\x8f\xbf\xbf"), 4u);
  for (const char* bad :
       {"", "\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80", "\xc3", "\xe4\xb8", "\xf0\x9f\x98", "\xc3(", "\xff"}) {
    EXPECT_EQ(utf8_length(bad), 0u) << testing::PrintToString(bad);
  }
}

}  // namespace
}  // namespace kl
