// A template is data of a stranger: whatever it does ends soon, in little memory, with an error that says where.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "jinja/template.h"
#include "tests/support/error_of.h"

namespace kl::jinja {
namespace {

std::string repeated(const std::string& text, std::size_t count) {
  std::string result;
  for (std::size_t i = 0; i < count; ++i) result += text;
  return result;
}

/// Small enough that every test ends at once.
Limits small() {
  Limits limits;
  limits.steps = 300'000;
  limits.output_bytes = 1u << 20;
  limits.memory_bytes = 32u << 20;
  return limits;
}

ErrorSeen render(const std::string& source) {
  return error_of([&] { Template(source, "t").render({{"x", "[1]"}}, small()); });
}

TEST(Hostile, NestingIsBoundedByTheParser) {
  const std::size_t many = 20'000;
  for (const std::string& source :
       {"{{ " + repeated("(", many), "{{ " + repeated("[", many), "{{ " + repeated("{1:", many),
        "{{ " + repeated("not ", many) + "1 }}", "{{ " + repeated("-", many) + "1 }}",
        "{{ 1" + repeated("+1", many) + " }}", "{{ x" + repeated(".a", many) + " }}",
        "{{ x" + repeated("[0]", many) + " }}", "{{ x" + repeated("|list", many) + " }}",
        "{{ x" + repeated("()", many) + " }}", "{{ 1" + repeated(" if 1 else 1", many) + " }}",
        "{{ 1" + repeated(" or 1", many) + " }}", "{{ 1" + repeated("**1", many) + " }}", repeated("{% if 1 %}", many),
        repeated("{% for a in x %}", 20'000), "{% set " + repeated("(", many), "{{ x is " + repeated("eq x is ", many),
        repeated("{% macro m() %}", 20'000), repeated("{% set a %}", many)}) {
    const ErrorSeen error = render(source);
    EXPECT_EQ(error.code, ErrorCode::kUnsupported) << source.substr(0, 30);
    EXPECT_TRUE(error.mentions("at most 200") || error.mentions("got")) << error.message;
  }
}

TEST(Hostile, BracesAloneAreJustText) {
  for (const char* piece : {"{", "}", "{{", "{%", "{#", "%}", "}}", "#}", "-%}", "{ {"}) {
    const std::string source = repeated(piece, 100'000);
    error_of([&] { Template(source, "t").render({}); });  // an error or not, but soon
  }
  EXPECT_EQ(Template(repeated("} ", 500'000), "t").render({}).size(), 1'000'000u);
  EXPECT_TRUE(error_of([] { Template(std::string(1'000'000, '{'), "t"); }).thrown);
  EXPECT_EQ(error_of([] { Template(std::string(2u << 20, 'x'), "t"); }).code, ErrorCode::kUnsupported);
  EXPECT_EQ(error_of([] { Template("\xFF", "t"); }).code, ErrorCode::kCorrupt);
}

TEST(Hostile, RecursionEnds) {
  for (const char* source :
       {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{% macro m(a=m()) %}{% endmacro %}{{ m() }}",
        "{% macro m() %}{{ caller }}{% call m() %}{% endcall %}{% endmacro %}{{ m() }}",
        "{% for a in x recursive %}{{ loop(x) }}{% endfor %}"}) {
    EXPECT_TRUE(render(source).mentions("levels deep")) << render(source).message;
  }
}

TEST(Hostile, LoopsAndBombsMeetTheirLimits) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{% for a in range(30000) %}{% set b = a + 1 + 1 + 1 + 1 + 1 + 1 + 1 %}{% endfor %}", "steps"},
      {"{{ range(10 ** 9) }}", "at most 100000"},
      {"{{ 'a' * 10 ** 12 }}", "bytes"},
      {"{{ [1] * 10 ** 12 }}", "list"},
      {"{{ 'x'|indent(10 ** 15) }}", "bytes"},
      {"{% set n = namespace(s='aaaa') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}", "bytes"},
      {"{% set n = namespace(s='aaaa') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}", "bytes"},
      {"{% set n = namespace(s='aaaa') %}{% for i in range(99) %}{% set n.s = n.s.replace('a', 'aa') %}{% endfor %}",
       "steps"},
      {"{% set n = namespace(s='a b ') %}{% for i in range(99) %}{% set n.s = n.s|upper|tojson|tojson %}{% endfor %}",
       "bytes"},
      {"{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = n.l + n.l %}{% endfor %}", "memory"},
      {"{% set n = namespace(l=[]) %}{% for i in range(9999) %}{% set _ = n.l.append('aaaaaaaaaa'.split('a') * 100) "
       "%}{% endfor %}",
       "memory"},
      {"{% for i in range(99999) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }}{% endfor %}", "bytes"},
      {"{% set n = namespace(l=[1]) %}{% for i in range(999) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}", "deep"},
      {"{% set n = namespace(l=[1]) %}{% for i in range(999) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l|tojson }}",
       "deep"},
      {"{% set a = [] %}{% set _ = a.append(a) %}{{ a }}", "deep"},
      {"{% set a = [] %}{% set b = [] %}{% set _ = a.append(b) %}{% set _ = b.append(a) %}{{ a == [[[[b]]]] }}",
       "deep"},
      {"{% set n = namespace() %}{% set n.n = n %}{{ n }}", "deep"},
      {"{{ 9223372036854775807 + 1 }}", "64 bits"},
      {"{{ 10 ** 99 }}", "64 bits"},
      {"{{ 1 // 0 }}", "divisor"},
      {"{{ -9223372036854775807 - 1 // -1 }}{{ (-9223372036854775807 - 1) // -1 }}", "64 bits"},
      {"{{ 'a'.split('') }}", "separator"},
      {"{{ x[::0] }}", "step"},
  };
  for (const auto& [source, words] : cases) {
    const ErrorSeen error = render(source);
    EXPECT_EQ(error.code, ErrorCode::kInvalidArgument) << source << ": " << error.message;
    EXPECT_TRUE(error.mentions(words)) << source << ": " << error.message;
  }
}

TEST(Hostile, TimeIsBoundedToo) {
  Limits limits;
  limits.time = std::chrono::milliseconds(0);
  const ErrorSeen error =
      error_of([&] { Template("{% for i in range(99999) %}{{ i }}{% endfor %}", "t").render({}, limits); });
  EXPECT_TRUE(error.mentions("within 0 ms")) << error.message;
}

TEST(Hostile, CyclesAreFreed) {  // seen by the leak checker
  EXPECT_FALSE(
      render("{% set n = namespace() %}{% set n.n = n %}{% set a = [n] %}{% set n.a = a %}{% set _ = a.append(a) %}"
             "{% for i in x %}{% macro m() %}{{ i }}{% endmacro %}{% set n.m = m %}{% set n.l = loop %}"
             "{{ loop.changed(loop) }}{% endfor %}")
          .thrown);
}

}  // namespace
}  // namespace kl::jinja
