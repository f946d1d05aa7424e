#include "base/printable.h"

#include <gtest/gtest.h>

namespace kl {
namespace {

TEST(Printable, KeepsTextAndEscapesTheRest) {
  EXPECT_EQ(printable("plain é 中 😀"), "plain é 中 😀");
  EXPECT_EQ(printable("a\nb\x7f"), "a\\x0ab\\x7f");
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(printable("\xff\xc3"), "\\xff\\xc3");
}

TEST(Printable, EscapesWhatSteersATerminalOrTurnsText) {
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\xc2\\x9b31m");  // CSI as one character
  EXPECT_EQ(printable("\xc2\x80\xc2\x9f\xc2\xa0"), "\\xc2\\x80\\xc2\\x9f\xc2\xa0");
  EXPECT_EQ(printable("\u202a\u202e\u202f"), "\\xe2\\x80\\xaa\\xe2\\x80\\xae\u202f");
  EXPECT_EQ(printable("\u2066\u2069\u206a"), "\\xe2\\x81\\xa6\\xe2\\x81\\xa9\u206a");
}

TEST(Printable, LinesKeepTheirBreaksAndLength) {
  EXPECT_EQ(printable_lines("a\n\x1b\n\nb\n"), "a\n\\x1b\n\nb\n");
  EXPECT_EQ(printable_lines(""), "");
  EXPECT_EQ(printable_lines(std::string(5000, 'x')).size(), 5000u);
}

TEST(Printable, CutsLongTextBetweenCharacters) {
  EXPECT_EQ(printable("abcdef", 3), "abc...");
  EXPECT_EQ(printable("ééé", 3), "éé...");
  EXPECT_EQ(printable("abc", 3), "abc");
}

}  // namespace
}  // namespace kl
