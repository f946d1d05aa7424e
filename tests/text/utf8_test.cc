#include "text/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace kl {
namespace {

std::string encoded(std::uint32_t c) {
  const auto tail = [c](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xC0 | c >> 6), tail(0)};
  if (c < 0x10000) return {static_cast<char>(0xE0 | c >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | c >> 18), tail(12), tail(6), tail(0)};
}

TEST(Utf8, AcceptsEveryScalarValueAndReadsItsClasses) {
  for (std::uint32_t c = 0; c < 0x110000; ++c) {
    const std::string bytes = encoded(c);
    const Utf8Unit unit = next_utf8(bytes);
    const bool is_surrogate = 0xD800 <= c && c <= 0xDFFF;
    ASSERT_EQ(unit.kind == Utf8Unit::Kind::kCharacter, !is_surrogate) << c;
    if (is_surrogate) continue;
    ASSERT_EQ(unit.bytes, bytes.size());
    ASSERT_EQ(read_character(bytes.data()).bytes, bytes.size());
    ASSERT_EQ(read_character(bytes.data()).classes, unicode_classes(c));
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

// Facts of Unicode 16.0.0 that differ in 15.0 or 17.0, and characters the pattern treats specially.
TEST(UnicodeClasses, AreThoseOfVersion16) {
  EXPECT_EQ(unicode_classes(0x105C0), static_cast<std::uint32_t>(kLetter | kUpper | kLower));  // TODHRI, new in 16.0
  EXPECT_EQ(unicode_classes(0x10D40), static_cast<std::uint32_t>(kNumber));                    // GARAY DIGIT ZERO, 16.0
  EXPECT_EQ(unicode_classes(0x323B0), 0u);                                                     // assigned in 17.0
  EXPECT_EQ(unicode_classes(0x3007), static_cast<std::uint32_t>(kHan | kNumber));
  EXPECT_EQ(unicode_classes(0x2E80), static_cast<std::uint32_t>(kHan));
  EXPECT_EQ(unicode_classes(0x1C), static_cast<std::uint32_t>(kPythonSpace));
  EXPECT_EQ(unicode_classes(0x85), static_cast<std::uint32_t>(kPythonSpace | kWhitespace));
  EXPECT_EQ(unicode_classes(0x200B), 0u);
  EXPECT_EQ(unicode_classes(0x1C5), static_cast<std::uint32_t>(kLetter | kUpper));  // a titlecase letter
}

}  // namespace
}  // namespace kl
