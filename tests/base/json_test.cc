#include "base/json.h"

#include <gtest/gtest.h>

#include <string>

#include "kl/error.h"

namespace kl {
namespace {

std::string problem(const std::string& text, const JsonLimits& limits = {}) {
  try {
    Json::parse(text, "x.json", limits);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    return error.what();
  }
  return "accepted";
}

TEST(Json, ReadsEveryKindOfValue) {
  const Json json = Json::parse(R"({"a": [null, true, -3, 18446744073709551615, 1.5, "é\n"], "b": {}})", "x.json");
  const Json::Array& a = *json.find("a")->array();
  EXPECT_TRUE(a[0].is_null());
  EXPECT_EQ(a[1].boolean(), true);
  EXPECT_EQ(a[2].integer(), -3);
  EXPECT_EQ(a[3].integer(), std::nullopt) << "does not fit int64 and must not wrap";
  EXPECT_EQ(a[3].number(), 18446744073709551615.0);
  EXPECT_EQ(a[4].number(), 1.5);
  EXPECT_EQ(a[4].integer(), std::nullopt);
  EXPECT_EQ(*a[5].string(), "é\n");
  EXPECT_TRUE(json.find("b")->object()->empty());
  EXPECT_EQ(json.find("c"), nullptr);
  EXPECT_EQ(a[0].find("c"), nullptr);
}

TEST(Json, NamesFileAndByteOfTheMistake) {
  EXPECT_EQ(problem(R"({"a": 1, "a": 2})"), "x.json: key \"a\" appears twice at byte 12");
  EXPECT_NE(problem("{\"a\": }").find("at byte 7"), std::string::npos) << problem("{\"a\": }");
  EXPECT_NE(problem("").find("x.json: expected JSON"), std::string::npos) << problem("");
  EXPECT_EQ(problem("1e999"), "x.json: expected JSON, got number overflow parsing '1e999' at byte 5");
}

TEST(Json, RefusesWhatOtherParsersBendSilently) {
  EXPECT_NE(problem("1e999").find("expected JSON"), std::string::npos);
  EXPECT_NE(problem("NaN").find("expected JSON"), std::string::npos);
  EXPECT_NE(problem("{} {}").find("expected JSON"), std::string::npos);
  EXPECT_NE(problem(std::string("{}\0garbage", 10)).find("NUL byte at byte 2"), std::string::npos);
  EXPECT_NE(problem("\"\xff\"").find("expected JSON"), std::string::npos);
  EXPECT_NE(problem("\"\xed\xa0\x80\"").find("expected JSON"), std::string::npos) << "UTF-8 of a surrogate";
  EXPECT_NE(problem("\"\\ud800\"").find("expected JSON"), std::string::npos) << "lone surrogate escape";
}

TEST(Json, NeverTakesAnIntegerBeyond64BitsForAnotherInteger) {
  for (const char* text : {"18446744073709551616", "-9223372036854775809", "1000000000000000019884624838656"}) {
    const Json json = Json::parse(text, "x.json");
    EXPECT_EQ(json.integer(), std::nullopt) << text;
    EXPECT_EQ(json.number(), std::stod(text));
  }
}

TEST(Json, RefusesDuplicateKeysAtEveryDepthButNotInSiblings) {
  EXPECT_NE(problem(R"([{"x": {"k": 1, "k": 1}}])").find("appears twice"), std::string::npos);
  EXPECT_EQ(problem(R"([{"k": 1}, {"k": 1}, {"x": {"k": 1}, "k": 2}])"), "accepted");
}

TEST(Json, BoundsDepthAndNumberOfValues) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(problem(nested(64)), "accepted");
  EXPECT_NE(problem(nested(65)).find("64 nested levels at byte 65"), std::string::npos);
  EXPECT_NE(problem(nested(1'000'000)).find("64 nested levels"), std::string::npos);
  EXPECT_EQ(problem("[1,2,3]", {.max_elements = 4}), "accepted");
  EXPECT_NE(problem("[1,2,3,4]", {.max_elements = 4}).find("at most 4 JSON values"), std::string::npos);
}

TEST(Json, MessagesCarryNoRawBytes) {
  const std::string text = problem("{\"a\x01\xff\": 1}");
  for (const char c : text) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << text;
}

TEST(Json, DescribesValuesForMessages) {
  EXPECT_EQ(Json::parse("null", "").describe(), "null");
  EXPECT_EQ(Json::parse("-3", "").describe(), "-3");
  EXPECT_EQ(Json::parse("2.5", "").describe(), "2.5");
  EXPECT_EQ(Json::parse("8.0", "").describe(), "8.0") << "what is no integer must not look like one";
  EXPECT_EQ(Json::parse("1e2", "").describe(), "100.0");
  EXPECT_EQ(Json::parse("\"x\"", "").describe(), "\"x\"");
  EXPECT_EQ(Json::parse("[1,2]", "").describe(), "an array of 2");
}

}  // namespace
}  // namespace kl
