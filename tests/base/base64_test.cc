#include "base/base64.h"

#include <gtest/gtest.h>

namespace kl {
namespace {

TEST(Base64, GoesBothWaysAtEveryLength) {
  std::string bytes;
  for (int n = 0; n < 300; ++n) {
    std::string back = "x";
    EXPECT_TRUE(append_base64(to_base64(bytes), back));
    EXPECT_EQ(back, "x" + bytes);
    bytes += static_cast<char>(n * 37);
  }
  EXPECT_EQ(to_base64(""), "");
  EXPECT_EQ(to_base64("ab"), "YWI=");
  EXPECT_EQ(to_base64("\xfb\xff\xfe"), "+//+");
}

TEST(Base64, TakesTheStrictFormOnly) {
  for (const char* bad : {"Y",     "YW",       "YWI",      "YWI*", "YW I", " YWI=",      "YWI= ", "YWI=\n",
                          "\nYWI", "   \n",    "YWI-",     "YW-=", "----", "YW=I",       "Y===",  "====",
                          "=",     "YWI=YWI=", "YQ==YWI=", "YWJ=", "YR==", "\xC3\xA9==", "YWI_",  "-__-"}) {
    std::string bytes;
    EXPECT_FALSE(append_base64(bad, bytes)) << bad;
  }
}

}  // namespace
}  // namespace kl
