#include "base/problems.h"

#include <gtest/gtest.h>

#include "tests/support/error_of.h"

namespace kl {
namespace {

TEST(Problems, OneProblemIsOneLine) {
  Problems problems;
  problems.throw_if_any("file");
  problems.add("field: wrong");
  const ErrorSeen seen = error_of([&] { problems.throw_if_any("file"); });
  EXPECT_EQ(seen.message, "file: field: wrong");
  EXPECT_EQ(seen.code, ErrorCode::kCorrupt);
}

TEST(Problems, ManyProblemsAreListedUpToAScreenful) {
  Problems problems;
  for (int i = 0; i < 25; ++i) problems.add(std::to_string(i) + ".");
  const std::string text = problems.text("file");
  EXPECT_EQ(text.substr(0, 24), "file: 25 problems\n  0.\n ");
  EXPECT_NE(text.find(" 19."), std::string::npos);
  EXPECT_EQ(text.find(" 20."), std::string::npos);
  EXPECT_EQ(text.substr(text.rfind('\n')), "\n  ... and 5 more");
}

TEST(Problems, DamageOutranksWhatIsMerelyUnsupported) {
  Problems problems;
  problems.add(ErrorCode::kUnsupported, "a");
  EXPECT_EQ(problems.code(), ErrorCode::kUnsupported);
  problems.add(ErrorCode::kNotFound, "b");
  EXPECT_EQ(problems.code(), ErrorCode::kUnsupported);
  problems.add("c");
  EXPECT_EQ(problems.code(), ErrorCode::kCorrupt);
  problems.add(ErrorCode::kNotFound, "d");
  EXPECT_EQ(problems.code(), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace kl
