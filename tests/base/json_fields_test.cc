#include "base/json_fields.h"

#include <gtest/gtest.h>

namespace kl {
namespace {

/// Reads from `text` with `read` and answers the problems found.
template <class F>
std::vector<std::string> problems_of(const std::string& text, F&& read) {
  const Json json = Json::parse(text, "x");
  Problems problems;
  JsonFields fields(*json.object(), "outer.", problems);
  read(fields);
  return problems.lines();
}

TEST(JsonFields, ReadsEachTypeAndLeavesAbsentFieldsAlone) {
  int n = 7, absent = 8, null = 9;
  bool flag = false;
  std::string text;
  float x = 0;
  std::vector<std::int64_t> one, many;
  const auto problems =
      problems_of(R"({"n": 1, "null": null, "flag": true, "text": "t", "x": 2, "one": 5, "many": [1, -2]})",
                  [&](JsonFields& fields) {
                    EXPECT_TRUE(fields.read({"n"}, 0, 10, n));
                    EXPECT_FALSE(fields.read({"absent"}, 0, 10, absent));
                    EXPECT_FALSE(fields.read({"null"}, 0, 10, null));
                    EXPECT_TRUE(fields.read({"flag"}, flag));
                    EXPECT_TRUE(fields.read({"text"}, text));
                    EXPECT_TRUE(fields.read_number({"x"}, 0, 10, x));
                    EXPECT_TRUE(fields.read_list({"one"}, one));
                    EXPECT_TRUE(fields.read_list({"many"}, many));
                  });
  EXPECT_TRUE(problems.empty());
  EXPECT_EQ(n, 1);
  EXPECT_EQ(absent, 8);
  EXPECT_EQ(null, 9);
  EXPECT_TRUE(flag);
  EXPECT_EQ(text, "t");
  EXPECT_EQ(x, 2.0f);
  EXPECT_EQ(one, std::vector<std::int64_t>{5});
  EXPECT_EQ(many, (std::vector<std::int64_t>{1, -2}));
}

TEST(JsonFields, TakesAnySpellingButNoContradiction) {
  int n = 0;
  EXPECT_TRUE(problems_of(R"({"b": 3})", [&](JsonFields& fields) { fields.read({"a", "b"}, 0, 10, n); }).empty());
  EXPECT_EQ(n, 3);
  EXPECT_TRUE(problems_of(R"({"a": 4, "b": 4})", [&](JsonFields& fields) {
                fields.read({"a", "b"}, 0, 10, n);
              }).empty());
  EXPECT_EQ(problems_of(R"({"a": 4, "b": 5})",
                        [&](JsonFields& fields) {
                          fields.read({"a", "b"}, 0, 10, n);
                        }),
            std::vector<std::string>{"outer.a: is 4, but outer.b is 5"});
}

TEST(JsonFields, GathersEveryProblem) {
  int n = 0;
  bool flag = false;
  const auto problems = problems_of(R"({"n": 11, "flag": 1})", [&](JsonFields& fields) {
    fields.read({"n"}, 0, 10, n);
    fields.read({"flag"}, flag);
    fields.require({"absent"});
    fields.require({"gone"}, "somebody");
  });
  EXPECT_EQ(problems, (std::vector<std::string>{"outer.n: expected an integer from 0 to 10, got 11",
                                                "outer.flag: expected true or false, got 1", "outer.absent: missing",
                                                "outer.gone: missing, needed by somebody"}));
  EXPECT_EQ(n, 0) << "a bad value is not taken";
}

TEST(JsonFields, KnowsWhatNobodyAskedFor) {
  problems_of(R"({"a": 1, "b": 2, "c": 3, "d": 4})", [](JsonFields& fields) {
    int n = 0;
    fields.read({"b"}, 0, 10, n);
    fields.ignore({"d"});
    EXPECT_EQ(fields.unread(), (std::vector<std::string>{"outer.a", "outer.c"}));
  });
}

}  // namespace
}  // namespace kl
