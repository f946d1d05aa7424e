// Facts of the character database.
#include "text/unicode.h"

#include <gtest/gtest.h>

#include <string>

namespace kl {
namespace {

/// All but kPrintable, which most have.
std::uint32_t classes_of(std::uint32_t c) { return unicode_classes(c) & ~std::uint32_t{kPrintable}; }

// Facts of Unicode 16.0.0 that differ in 15.0 or 17.0, and characters the pattern treats specially.
TEST(UnicodeClasses, AreThoseOfVersion16) {
  EXPECT_EQ(classes_of(0x105C0), static_cast<std::uint32_t>(kLetter | kUpper | kLower));  // TODHRI, new in 16.0
  EXPECT_EQ(classes_of(0x10D40), static_cast<std::uint32_t>(kNumber));                    // GARAY DIGIT ZERO, 16.0
  EXPECT_EQ(classes_of(0x323B0), 0u);                                                     // assigned in 17.0
  EXPECT_EQ(classes_of(0x3007), static_cast<std::uint32_t>(kHan | kNumber));
  EXPECT_EQ(classes_of(0x2E80), static_cast<std::uint32_t>(kHan));
  EXPECT_EQ(classes_of(0x1C), static_cast<std::uint32_t>(kPythonSpace));
  EXPECT_EQ(classes_of(0x85), static_cast<std::uint32_t>(kPythonSpace | kWhitespace));
  EXPECT_EQ(classes_of(0x200B), 0u);
  EXPECT_EQ(classes_of(0x1C5), static_cast<std::uint32_t>(kLetter | kUpper));  // a titlecase letter
}

TEST(UnicodeClasses, AreReadFromText) {
  for (std::uint32_t c = 0; c < 0x110000; ++c) {
    if (0xD800 <= c && c <= 0xDFFF) continue;
    ASSERT_EQ(read_character(to_utf8(c).data()).classes, unicode_classes(c)) << c;
  }
}

TEST(UnicodeClasses, ArePrintableAsInPython) {
  for (const std::uint32_t c : {0x20, 0x7E, 0xA1, 0x301, 0x4E00, 0x1F600})
    EXPECT_TRUE(unicode_classes(c) & kPrintable) << c;
  for (const std::uint32_t c : {0x0A, 0x7F, 0x85, 0xA0, 0xAD, 0x200B, 0x3000, 0xE000, 0x10FFFF})
    EXPECT_FALSE(unicode_classes(c) & kPrintable) << c;
}

struct Cases {
  std::uint32_t character;
  const char *lower, *upper, *title;
};

TEST(UnicodeCases, AreThoseOfPython) {
  constexpr Cases kCases[] = {
      {'a', "a", "A", "A"},
      {'Z', "z", "Z", "Z"},
      {'1', "1", "1", "1"},
      {0xC9, "é", "É", "É"},
      {0x44F, "я", "Я", "Я"},
      {0x101, "ā", "Ā", "Ā"},
      {0x100, "ā", "Ā", "Ā"},
      {0xDF, "ß", "SS", "Ss"},
      {0x130, "i\u0307", "İ", "İ"},
      {0x131, "ı", "I", "I"},
      {0x149, "ŉ", "ʼN", "ʼN"},
      {0x1C6, "ǆ", "Ǆ", "ǅ"},
      {0x3C2, "ς", "Σ", "Σ"},
      {0x587, "և", "ԵՒ", "Եւ"},
      {0x10D0, "ა", "Ა", "ა"},
      {0x1F80, "ᾀ", "ἈΙ", "ᾈ"},
      {0x1FB2, "\u1FB2", "\u1FBA\u0399", "\u1FBA\u0345"},
      {0xFB01, "ﬁ", "FI", "Fi"},
      {0x4E2D, "中", "中", "中"},
      {0x10400, "𐐨", "𐐀", "𐐀"},
  };
  for (const Cases& c : kCases) {
    EXPECT_EQ(to_case(c.character, Case::kLower), c.lower) << c.character;
    EXPECT_EQ(to_case(c.character, Case::kUpper), c.upper) << c.character;
    EXPECT_EQ(to_case(c.character, Case::kTitle), c.title) << c.character;
  }
}

TEST(UnicodeCases, OnlyLettersOfOneCaseAreCased) {
  for (const std::uint32_t c : {0x41, 0x61, 0xDF, 0x1C5, 0x3A3}) EXPECT_TRUE(is_cased(c)) << c;
  for (const std::uint32_t c : {0x30, 0x20, 0x301, 0x4E2D, 0x5D0}) EXPECT_FALSE(is_cased(c)) << c;
}

}  // namespace
}  // namespace kl
