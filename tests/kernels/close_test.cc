#include "tests/support/close.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace kl::test {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr Budget kOneEps{1, "test"};

std::string compare(std::vector<float> actual, std::vector<float> expected, Budget budget = kOneEps) {
  return why_not_close(actual, expected, budget);
}

TEST(Close, BoundIsEpsilonOfTheLargestExpectedMagnitude) {
  EXPECT_EQ(compare({8, 1 + 0x1p-21f}, {8, 1}), "");    // 4 eps = 0.5 eps of peak 8
  EXPECT_EQ(compare({8, 1 + 0x1p-20f}, {8, 1}), "");    // exactly on the bound
  EXPECT_NE(compare({8, 1 + 0x1.8p-20f}, {8, 1}), "");  // beyond
  EXPECT_NE(compare({-8, 1}, {8, 1}), "");
}

TEST(Close, PeakMayBeNegative) { EXPECT_EQ(compare({-8, 1 + 0x1p-20f}, {-8, 1}), ""); }

TEST(Close, NanAndInfinityMustMatchByPosition) {
  EXPECT_EQ(compare({kNaN, kInf, -kInf, 1}, {kNaN, kInf, -kInf, 1}), "");
  EXPECT_NE(compare({kNaN, 1}, {1, 1}), "");
  EXPECT_NE(compare({1, 1}, {kNaN, 1}), "");
  EXPECT_NE(compare({-kInf}, {kInf}), "");
  EXPECT_NE(compare({kInf}, {kNaN}), "");
  EXPECT_NE(compare({kNaN}, {kInf}), "");
  EXPECT_NE(compare({3e38f, 1}, {kInf, 1}), "");
  EXPECT_NE(compare({kInf, 1}, {3e38f, 1}), "");
}

TEST(Close, ExpectedZerosMustBeZeros) {
  EXPECT_EQ(compare({0, -0.0f}, {0, 0}), "");
  EXPECT_NE(compare({1e-30f, 0}, {0, 0}), "");
}

TEST(Close, SizesMustAgree) {
  EXPECT_NE(compare({1, 2}, {1}), "");
  EXPECT_EQ(compare({}, {}), "");
}

TEST(Close, MessageNamesTheWorstElement) {
  EXPECT_EQ(compare({1, 2.5f, 4}, {1, 2, 4}),
            "[1]: expected 2, got 2.5: error 0.5 = 1048576.00 eps of peak 4, budget 1.00 (test)");
}

TEST(SameBits, TellsSignsOfZeroApartButNotNans) {
  EXPECT_EQ(why_not_same_bits(std::vector{1.0f, kNaN}, std::vector{1.0f, -kNaN}), "");
  EXPECT_NE(why_not_same_bits(std::vector{0.0f}, std::vector{-0.0f}), "");
  EXPECT_NE(why_not_same_bits(std::vector{1.0f}, std::vector{1 + 0x1p-23f}), "");
  EXPECT_NE(why_not_same_bits(std::vector{1.0f}, std::vector{1.0f, 2.0f}), "");
}

}  // namespace
}  // namespace kl::test
