// What single keywords mean, what is refused and where, and what hostile schemas cost.
#include <gtest/gtest.h>

#include <chrono>

#include "grammar/matcher.h"
#include "grammar/schema_compiler.h"
#include "tests/support/error_of.h"

namespace kl {
namespace {

using grammar::Automaton;
using grammar::Matcher;

bool fits(const Automaton& automaton, const std::string& text) {
  Matcher matcher(automaton);
  return matcher.read(text) && matcher.may_end();
}

struct Case {
  std::string schema;
  std::vector<std::string> good, bad;
};

void check(const Case& c) {
  SCOPED_TRACE(c.schema);
  const Automaton automaton = grammar::compile_schema(c.schema, false, {});
  for (const std::string& text : c.good) EXPECT_TRUE(fits(automaton, text)) << text;
  for (const std::string& text : c.bad) EXPECT_FALSE(fits(automaton, text)) << text;
}

TEST(Schema, Integers) {
  check({R"({"type":"integer","minimum":-12,"maximum":345})",
         {"-12", "-1", "0", "9", "10", "99", "344", "345"},
         {"-13", "346", "400", "1000", "-0", "01", "1.0", "1e2", "+1", ""}});
  check({R"({"type":"integer","exclusiveMinimum":5,"exclusiveMaximum":7})", {"6"}, {"5", "7", "66", "-6"}});
  check({R"({"type":"integer","minimum":4,"exclusiveMinimum":true})", {"5"}, {"4"}});
  check({R"({"type":"integer","minimum":0.5,"maximum":2.5})", {"1", "2"}, {"0", "3"}});
  check({R"({"type":"integer","minimum":-2.5,"maximum":-0.5})", {"-1", "-2"}, {"-3", "0"}});
  check({R"({"type":"integer"})", {"9223372036854775807", "-9223372036854775808", "0"}, {"9223372036854775808"}});
  check({R"({"type":"integer","multipleOf":7,"minimum":0})", {"0", "7", "70", "700007"}, {"1", "-7", "71"}});
}

TEST(Schema, EveryIntegerOfManyRanges) {
  for (const int low : {-105, -100, -11, -1, 0, 1, 9, 10, 19}) {
    for (const int high : {-99, -9, -1, 0, 5, 10, 11, 99, 100, 123}) {
      if (high < low) continue;
      const Automaton automaton = grammar::compile_schema(
          R"({"type":"integer","minimum":)" + std::to_string(low) + R"(,"maximum":)" + std::to_string(high) + "}",
          false, {});
      for (int x = -1200; x <= 1200; ++x) ASSERT_EQ(fits(automaton, std::to_string(x)), low <= x && x <= high) << x;
    }
  }
}

TEST(Schema, Numbers) {
  check({R"({"type":"number"})",
         {"0", "-0.5", "12.25", "1e5", "1E-10", "-3.0e+7", "-0"},
         {".5", "1.", "01", "1e", "1e999", "--1", "NaN"}});
  check({R"({"type":"number","minimum":0,"maximum":1})",
         {"0", "1", "0.0", "0.999", "1.0", "1.000"},
         {"1.1", "1.01", "-0.1", "2", "10"}});
  check({R"({"type":"number","exclusiveMinimum":0})", {"0.1", "0.001", "5"}, {"0", "0.0", "0.000", "-1"}});
  check({R"({"type":"number","minimum":-12.5,"exclusiveMaximum":3.25})",
         {"-12.5", "-12.50", "-12.49", "-0.0001", "0", "3.2", "3.2499", "3"},
         {"-12.51", "-13", "3.25", "3.250", "3.3", "4", "-100"}});
  check({R"({"type":"number","maximum":-0.5})",
         {"-0.5", "-0.51", "-7", "-100.25"},
         {"-0.49", "0", "-0", "-0.4999", "5"}});
}

/// Those who check a text read numbers as doubles, and integers exactly.
TEST(Schema, BoundsHoldForWhatIsRead) {
  check({R"({"type":"number","exclusiveMaximum":1})", {"0.9999999999999999"}, {"0.99999999999999999", "1", "1.0"}});
  check({R"({"type":"number","exclusiveMinimum":0.1})", {"0.1000000000000001"}, {"0.1", "0.10000000000000001"}});
  check({R"({"type":"number","exclusiveMinimum":0.001})", {"0.0010000000000001"}, {"0.001", "0.00100000000000000"}});
  check({R"({"type":"number","exclusiveMaximum":-100000000000000000})",
         {"-100000000000000020", "-100000000000000020.5"},
         {"-100000000000000000", "-100000000000000000.5", "-100000000000000001.0"}});
  check({R"({"type":"integer","minimum":9007199254740993})", {"9007199254740993"}, {"9007199254740992"}});
  check({R"({"type":"integer","maximum":-9007199254740993})", {"-9007199254740993"}, {"-9007199254740992"}});
  check({R"({"enum":[9007199254740993,9007199254740992],"maximum":9007199254740992})",
         {"9007199254740992"},
         {"9007199254740993"}});
  check({R"({"enum":[9007199254740993,9007199254740992],"multipleOf":3})", {"9007199254740993"}, {"9007199254740992"}});
  check({R"({"const":123456789012345678901234567890})",
         {"123456789012345678901234567890"},
         {"1.2345678901234568e+29", "123456789012345680000000000000"}});
}

TEST(Schema, EveryDecimalOfManyRanges) {
  const auto decimal = [](int hundredths) {
    const std::string digits = std::to_string(1000 + std::abs(hundredths) % 100).substr(2);
    return (hundredths < 0 ? "-" : "") + std::to_string(std::abs(hundredths) / 100) + "." + digits;
  };
  for (const int low : {-250, -100, -99, -1, 0, 1, 50, 99, 100, 101}) {
    for (const int high : {-120, -50, -1, 0, 3, 50, 100, 110, 999, 1001}) {
      if (high < low) continue;
      const Automaton inclusive = grammar::compile_schema(
          R"({"type":"number","minimum":)" + decimal(low) + R"(,"maximum":)" + decimal(high) + "}", false, {});
      for (int x = -1100; x <= 1100; ++x) {
        if (x == 0) continue;  // written in two ways
        ASSERT_EQ(fits(inclusive, decimal(x)), low <= x && x <= high) << low << " " << x << " " << high;
      }
      if (high - low < 2) continue;
      const Automaton exclusive = grammar::compile_schema(
          R"({"type":"number","exclusiveMinimum":)" + decimal(low) + R"(,"exclusiveMaximum":)" + decimal(high) + "}",
          false, {});
      for (int x = -1100; x <= 1100; ++x) {
        if (x == 0) continue;
        ASSERT_EQ(fits(exclusive, decimal(x)), low < x && x < high) << low << " " << x << " " << high;
      }
    }
  }
}

TEST(Schema, Strings) {
  check({R"({"type":"string"})",
         {R"("")", R"("a\"b\\c\/\b\f\n\r\t\u00e9\ud83d\ude00")", "\"\xC3\xA9 \xF0\x9F\x98\x80 \x7F\""},
         {R"("a)", "\"\n\"", "\"\x1F\"", R"("\x")", R"("\ud83d")", R"("\ude00")", R"("\ud83d\u0041")", "\"\xC3\"",
          "\"\xED\xA0\x80\"", "\"\xC0\x80\"", "\"\xF4\x90\x80\x80\"", R"("\u12g4")", "\"\x80\""}});
  check({R"({"type":"string","minLength":2,"maxLength":3})",
         {R"("ab")", "\"\xC3\xA9\xF0\x9F\x98\x80\"", R"("\n\ud83d\ude00x")"},
         {R"("a")", R"("abcd")", R"("\u0041")"}});
  check({R"({"type":"string","maxLength":0})", {R"("")"}, {R"("a")"}});
}

TEST(Schema, PatternsAreFoundAnywhereUnlessAnchored) {
  check({R"({"pattern":"b+","type":"string"})", {R"("b")", R"("abba")"}, {R"("")", R"("ac")"}});
  check({R"({"pattern":"^(a|b)*c?$","type":"string"})", {R"("")", R"("abba")", R"("bc")"}, {R"("cc")", R"("x")"}});
  check({R"({"pattern":"^a|b$","type":"string"})", {R"("ax")", R"("xb")"}, {R"("xa")", R"("bx")"}});
  check({R"({"pattern":"^[^a-c\\d]{2}$","type":"string"})",
         {"\"x\xC3\xA9\"", R"("\"\n")"},
         {R"("ax")", R"("x1")", R"("x")"}});
  check({R"({"pattern":"^\\u00e9\\x41[\\w.-]\\.$","type":"string"})",
         {"\"\xC3\xA9"
          "A-.\""},
         {"\"\xC3\xA9"
          "A-x\""}});
  check({R"({"pattern":"^(^[a-z]+$|^[0-9]$)$$","type":"string"})", {R"("ab")", R"("7")"}, {R"("a7")", R"("77")"}});
  check({R"({"pattern":"(?:^|^a|x^)(?:$$)*b","type":"string"})", {R"("b")", R"("abc")"}, {R"("cb")", R"("xb")"}});
  check({R"({"patternProperties":{"^^a$$":false},"additionalProperties":true})", {R"({"b":1})"}, {R"({"a":1})"}});
  check({R"({"pattern":"^(?:ab){2,3}$","type":"string","maxLength":4})", {R"("abab")"}, {R"("ababab")", R"("ab")"}});
  check({R"({"pattern":"^(?<year>\\d{4})$","type":"string"})", {R"("2024")"}, {R"("202")"}});
}

TEST(Schema, Formats) {
  check({R"({"type":"string","format":"date"})",
         {R"("2024-02-28")", R"("1999-12-31")"},
         {R"("2024-02-30")", R"("2024-13-01")", R"("2024-04-31")"}});
  check({R"({"type":"string","format":"date-time"})",
         {R"("2024-02-28T23:59:59.25Z")", R"("2024-02-28T00:00:00+02:00")"},
         {R"("2024-02-28 00:00:00Z")"}});
  check({R"({"type":"string","format":"uuid"})", {R"("123e4567-e89b-12d3-a456-426614174000")"}, {R"("123e4567")"}});
  check({R"({"type":"string","format":"ipv4"})", {R"("192.168.0.255")"}, {R"("256.1.1.1")", R"("1.2.3")"}});
  check({R"({"type":"string","format":"email"})", {R"("a.b@example.org")"}, {R"("a@b")", R"("@example.org")"}});
  check({R"({"type":"string","format":"poem"})", {R"("any")"}, {"3"}});
}

TEST(Schema, Arrays) {
  check({R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})",
         {"[1]", "[1,2,3]", "[ 1, 2 ]", "[\n  1,\n  2\n]"},
         {"[]", "[1,2,3,4]", "[1,]", "[,1]", "[1 2]", "[  1]", "[\"a\"]"}});
  check({R"({"type":"array","prefixItems":[{"const":1},{"const":2}],"items":{"const":3},"maxItems":4})",
         {"[]", "[1]", "[1,2]", "[1,2,3,3]"},
         {"[2]", "[1,3]", "[1,2,3,3,3]"}});
  check({R"({"type":"array","prefixItems":[{"const":1},{"const":2}],"items":false,"minItems":2})",
         {"[1,2]"},
         {"[1]", "[1,2,3]"}});
  check({R"({"type":"array","items":[{"const":1}],"additionalItems":{"const":2},"minItems":3})",
         {"[1,2,2]"},
         {"[1,2]", "[2,2,2]"}});
  check({R"({"type":"array","maxItems":0})", {"[]", "[ ]"}, {"[1]"}});
}

TEST(Schema, BlanksDoNotPromiseAnEndThatTheCounterForbids) {
  const Automaton automaton = grammar::compile_schema(R"({"type":"array","minItems":2})", false, {});
  for (const char* text : {"[1 ", "[1\n", "[1\n  "}) EXPECT_FALSE(Matcher(automaton).read(text)) << text;
  EXPECT_TRUE(fits(automaton, "[1,2 ]"));
}

TEST(Schema, Objects) {
  check(
      {R"({"type":"object","properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3}},"required":["b"]})",
       {R"({"b":2})", R"({"a":1,"b":2,"c":3})", R"({ "b": 2, "c": 3 })"},
       {"{}", R"({"a":1})", R"({"b":2,"a":1})", R"({"b":2,"d":1})", R"({"b":2,})", R"({"b":3})", R"({"b":2,"b":2})"}});
  check({R"({"type":"object","properties":{"a":{"const":1}},"additionalProperties":{"const":9}})",
         {"{}", R"({"a":1,"x":9,"aa":9})", R"({"x":9})"},
         {R"({"x":1})", R"({"a":9})", R"({"x":9,"a":1})", R"({"\u0061":9})"}});
  check({R"({"type":"object","required":["z"],"properties":{"a":{"const":1}},"additionalProperties":true})",
         {R"({"z":[],"q":1})", R"({"a":1,"z":0})"},
         {"{}", R"({"a":1})"}});
  check(
      {R"({"type":"object","patternProperties":{"^x":{"const":1},"y$":{"type":"integer"}},"additionalProperties":false})",
       {"{}", R"({"x":1,"ay":5,"xy":1})"},
       {R"({"xy":5})", R"({"q":1})"}});
  check({R"({"type":"object","maxProperties":2,"additionalProperties":{"const":1}})",
         {"{}", R"({"a":1,"b":1})"},
         {R"({"a":1,"b":1,"c":1})"}});
  check({R"({"type":"object","propertyNames":{"pattern":"^[ab]$"},"additionalProperties":{"const":1}})",
         {R"({"a":1,"b":1})"},
         {R"({"c":1})"}});
  check({R"({"type":"object"})", {"{}", R"({"a":{"b":[null,1.5e3,"x"]}})"}, {"[]", "{", R"({"a"})"}});
}

TEST(Schema, Combinations) {
  check({R"({"anyOf":[{"type":"integer"},{"type":"string","maxLength":1}]})", {"12", R"("a")"}, {R"("ab")", "null"}});
  check({R"({"allOf":[{"type":["integer","string"]},{"type":["integer","null"]},{"minimum":3}],"maximum":9})",
         {"3", "9"},
         {"2", "10", "null"}});
  check(
      {R"({"type":"object","properties":{"k":{"const":"a"}},"required":["k"],"anyOf":[{"properties":{"x":{"const":1}},"required":["x"]},{"properties":{"y":{"const":2}},"required":["y"]}]})",
       {R"({"k":"a","x":1})", R"({"k":"a","y":2})"},
       {R"({"k":"a"})", R"({"x":1})"}});
  check(
      {R"({"oneOf":[{"type":"object","properties":{"t":{"const":"a"},"v":{"const":1}},"required":["t"]},{"type":"object","properties":{"t":{"const":"b"}},"required":["t"]}]})",
       {R"({"t":"a","v":1})", R"({"t":"b"})"},
       {R"({"t":"b","v":1})", R"({"t":"c"})"}});
  check({R"({"enum":[1,"a",null,[1,{"b":2}]],"type":["string","array","null"]})",
         {R"("a")", "null", R"([1,{"b":2}])", R"([ 1, {"b": 2} ])"},
         {"1", "[1]"}});
  check({R"({"const":5,"minimum":3})", {"5"}, {"4"}});
  check({R"({"type":"string","nullable":true,"maxLength":1})", {"null", R"("a")"}, {"1"}});
  check(
      {R"({"$defs":{"n":{"properties":{"next":{"$ref":"#/$defs/n"},"v":{"type":"boolean"}},"type":"object","required":["v"]}},"$ref":"#/$defs/n"})",
       {R"({"v":true})", R"({"next":{"next":{"v":false},"v":true},"v":true})"},
       {R"({"next":{}})"}});
  check({R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})", {"null"}, {"1"}});
  check({R"({"definitions":{"a/b~":{"const":1}},"$ref":"#/definitions/a~1b~0"})", {"1"}, {"2"}});
  check({"true", {"null", "[1]", "{}"}, {"x"}});
}

TEST(Schema, WhatIsRefusedNamesPlaceAndKeyword) {
  struct Refused {
    const char* schema;
    std::vector<const char*> words;
  };
  for (const Refused& r : std::vector<Refused>{
           {"{", {"json schema"}},
           {"3", {"top level", "a schema"}},
           {R"({"type":"object","properties":{"a":{"not":{}}}})", {"/properties/a/not"}},
           {R"({"type":"array","items":{"uniqueItems":true}})", {"/items/uniqueItems"}},
           {R"({"type":"string","pattern":"(?=a)b"})", {"/pattern", "look-around"}},
           {R"({"type":"string","pattern":"(a)\\1"})", {"/pattern", "\\1"}},
           {R"({"type":"string","pattern":"a\\b"})", {"/pattern", "\\b"}},
           {R"({"type":"string","pattern":"(a"})", {"/pattern", "closing )"}},
           {R"({"type":"string","pattern":"[a"})", {"/pattern", "closing ]"}},
           {R"({"type":"string","pattern":"*a"})", {"/pattern", "quantifier"}},
           {R"({"type":"strings"})", {"/type", "strings"}},
           {R"({"$ref":"http://example.org/x"})", {"/$ref"}},
           {R"({"$ref":"#/nowhere"})", {"/$ref", "#/nowhere"}},
           {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", {"/oneOf", "exclude each other"}},
           {R"({"type":"integer","minimum":"3"})", {"/minimum"}},
           {R"({"type":"number","minimum":5e-324})", {"/minimum", "18 digits"}},
           {R"({"type":"number","maximum":1e-310})", {"/maximum", "18 digits"}},
           {R"({"type":"number","multipleOf":0.01})", {"/multipleOf"}},
           {R"({"type":"string","minLength":-1})", {"/minLength"}},
           {R"({"type":"object","minProperties":2})", {"/minProperties"}},
           {R"({"type":"integer","minimum":3,"maximum":2})", {"satisfies it"}},
           {R"({"type":"string","minLength":3,"maxLength":2})", {"satisfies it"}},
           {R"({"$ref":"#"})", {"refer to itself"}},
           {R"({"const":{"a":1},"unevaluatedProperties":false})", {"/unevaluatedProperties"}},
           {R"({"type":"object","patternProperties":3})", {"/patternProperties", "an object"}},
           {R"({"$defs":{"a":{"$id":"http://x/a","items":{"$ref":"#/$defs/b"}},"b":{}},"$ref":"#/$defs/a"})",
            {"/$defs/a/$id"}},
           {R"({"allOf":[{"properties":{"a":true}},{"unevaluatedProperties":false}]})",
            {"/allOf/1/unevaluatedProperties"}},
           {R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})", {"satisfies it"}},
           {R"({"allOf":[{"type":"string"},{"type":"null"}]})", {"satisfies it"}},
           {R"({"type":"string","pattern":"^a$","minLength":2})", {"satisfies it"}},
           {"false", {"satisfies it"}},
       }) {
    SCOPED_TRACE(r.schema);
    const ErrorSeen error = error_of([&] { grammar::compile_schema(r.schema, false, {}); });
    EXPECT_TRUE(error.thrown);
    EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
    for (const char* word : r.words) EXPECT_TRUE(error.mentions(word)) << error.message;
  }
}

std::string repeated(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

TEST(Schema, ALongEnumBesideAFormatIsRead) {
  std::string values;
  for (int i = 0; i < 3'000; ++i) values += "\"2024-01-01T00:00:00." + std::to_string(i) + "Z\",";
  check({R"({"type":"string","format":"date-time","enum":[)" + values + R"("x"]})",
         {R"("2024-01-01T00:00:00.2999Z")"},
         {R"("x")", R"("2024-01-01T00:00:00.3000Z")"}});
}

TEST(Schema, HostileOnesAreRefusedOrHandledInTime) {
  std::string branches, properties, enumeration, references;
  for (int i = 0; i < 1'000'000; ++i) enumeration += std::to_string(i) + ",";
  for (int i = 0; i < 20'000; ++i)
    branches += R"({"type":"object","properties":{"a":{"const":)" + std::to_string(i) + "}}},";
  for (int i = 0; i < 20'000; ++i) properties += "\"p" + std::to_string(i) + "\":{},";
  for (int i = 0; i < 15'000; ++i)
    references += "\"p" + std::to_string(i) + R"(":{"$ref":"#/properties/p)" + std::to_string(i + 1) + "\"},";
  std::string patterns, all_of, places, indices, tags;
  for (int i = 0; i < 10'000; ++i) patterns += "\"p" + std::to_string(i) + "\":{},";
  for (int i = 0; i < 25'000; ++i) all_of += R"({"properties":{"p)" + std::to_string(i) + R"(":{}}},)";
  for (int i = 0; i < 99'000; ++i) places += "{},";
  for (int i = 0; i < 20'000; ++i) indices += R"({"$ref":"#/$defs/x/)" + std::to_string(98'000 - i) + "\"},";
  for (int i = 0; i < 16'000; ++i)
    tags += R"({"required":["t"],"properties":{"t":{"const":)" + std::to_string(i) + "}}},";
  const std::string any_of =
      R"({"anyOf":[{"$ref":"#/$defs/x"},{"type":"null"},{"type":"integer"},{"type":"string"}]},)";
  const std::vector<std::string> schemas = {
      repeated(R"({"items":)", 30'000) + "{}" + repeated("}", 30'000),
      repeated(R"({"anyOf":[)", 30'000) + "{}" + repeated("]}", 30'000),
      repeated("[", 1'000'000),
      "{\"enum\":[" + enumeration + "0]}",
      "{\"enum\":[" + enumeration.substr(0, 900'000) + "0]}",
      R"({"anyOf":[)" + branches.substr(0, 900'000) + "{}]}",
      R"({"type":"object","properties":{)" + properties + R"("z":{}}})",
      R"({"type":"object","properties":{)" + references + R"("p15000":{"type":"null"}}})",
      R"({"allOf":[)" + repeated(any_of, 40) + R"({}],"$defs":{"x":{"type":"boolean"}}})",
      R"({"type":"string","maxLength":1000000000})",
      R"({"type":"string","minLength":1000000000})",
      R"({"type":"array","minItems":1000000000})",
      R"({"type":"array","maxItems":1e300})",
      R"({"type":"string","pattern":"^.*$","maxLength":1000000000})",
      R"({"type":"string","pattern":"(((a{1000}){1000}){1000}){1000}"})",
      R"({"type":"string","pattern":"(a|b)*a(a|b){30}$"})",
      R"({"type":"string","pattern":")" + repeated("(", 100'000) + repeated(")", 100'000) + "\"}",
      R"({"type":"string","pattern":")" + repeated("a?", 100'000) + "\"}",
      R"({"type":"string","pattern":")" + repeated("[^a]*", 100'000) + "\"}",
      R"({"type":"string","pattern":"a{99999999999999999999}"})",
      R"({"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}})",
      R"({"type":"object","patternProperties":{)" + patterns + R"("z":{}},"properties":{)" + properties + R"("z":{}}})",
      R"({"type":"object","allOf":[)" + all_of + "{}]}",
      R"({"allOf":[)" + indices + R"({}],"$defs":{"x":[)" + places + "{}]}}",
      R"({"oneOf":[)" + tags + "false]}",
      R"({"allOf":[{"enum":[)" + enumeration.substr(0, 400'000) + R"(0]},{"enum":[)" + enumeration.substr(9, 400'000) +
          "0]}]}",
      R"({"enum":[)" + enumeration.substr(0, 200'000) + R"(0],"allOf":[)" + repeated(R"({"type":"integer"},)", 20'000) +
          R"({}]})",
      R"({"allOf":[{"$ref":"#"}]})",
      R"({"anyOf":[{"$ref":"#"},{"$ref":"#"}]})",
      R"({"type":"array","items":{"$ref":"#"}})",
      R"({"type":"integer","multipleOf":9999,"minimum":1,"allOf":[{"multipleOf":9998},{"multipleOf":9997}]})",
  };
  for (const std::string& schema : schemas) {
    const auto start = std::chrono::steady_clock::now();
    const ErrorSeen error = error_of([&] {
      const Automaton automaton = grammar::compile_schema(schema, false, {});
      EXPECT_LT(automaton.bytes(), 64u << 20);
      Matcher(automaton).read("[[{\"a\"");
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    EXPECT_LT(seconds, 5) << schema.substr(0, 100);  // about 1 s at most on a free core
    if (seconds > 0.3) std::printf("%.2f s  %s  %s\n", seconds, schema.substr(0, 60).c_str(), error.message.c_str());
    EXPECT_TRUE(!error.thrown || error.code == ErrorCode::kInvalidArgument) << error.message;
  }
}

}  // namespace
}  // namespace kl
