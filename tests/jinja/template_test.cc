// What templates mean.  Every expected text is what Jinja 3.1.6 gives (tools/compare_jinja.py compares at random).
#include "jinja/template.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/error_of.h"

namespace kl::jinja {
namespace {

std::string render(const std::string& source, const std::string& json = "{}") {
  return Template(source, "t").render({{"x", json}, {"y", "[3, 1, 2]"}}).bytes();
}

struct Case {
  const char* source;
  const char* expected;
};

void expect_all(const std::vector<Case>& cases, const std::string& json = "{}") {
  for (const Case& c : cases) {
    const ErrorSeen error = error_of([&] { EXPECT_EQ(render(c.source, json), c.expected) << c.source; });
    EXPECT_FALSE(error.thrown) << c.source << ": " << error.message;
  }
}

TEST(Whitespace, IsTrimmedAsTransformersSetsJinjaUp) {
  expect_all({
      {"a\n", "a"},
      {"a\n\n", "a\n"},
      {"a\r\nb\rc", "a\nb\nc"},
      {"{% if true %}\nx\n{% endif %}\ny", "x\ny"},
      {"a\n  {% if true %}\n  x\n  {% endif %}\n", "a\n  x\n"},
      {"a  {% if true %} x{% endif %}", "a   x"},
      {"  {{ 1 }}", "  1"},
      {"  {%+ if true %}\nx{% endif %}", "  x"},
      {"{% if true +%}\nx{% endif %}", "\nx"},
      {"a \n {{- 1 -}} \n b", "a1b"},
      {"a\n  {# c #}\nb", "a\nb"},
      {"a {#- c -#} b", "ab"},
      {"{% raw %}{{ x }}{% endraw %}", "{{ x }}"},
      {"a\n  {% raw -%}  {{ x }} {%- endraw %}\nb", "a\n{{ x }}b"},
      {"{{ '}}' }}{{ {'a': {}} }}", "}}{'a': {}}"},
  });
}

TEST(Expressions, HaveJinjasPrecedences) {
  expect_all({
      {"{{ 1 + 2 * 3 - 4 // 3 }}", "6"},
      {"{{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ -3|int }}", "64 4 -3"},
      {"{{ 7 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7.5 % -2 }}", "3.5 3 -4 2 -0.5"},
      {"{{ 1 ~ 'a' ~ none ~ true }}", "1aNoneTrue"},
      {"{{ not 1 == 2 and 3 in [3] }} {{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }}", "True True False"},
      {"{{ 'a' if false }}|{{ 'a' if false else 'b' if false else 'c' }}", "|c"},
      {"{{ 0 or 'x' }} {{ 1 and [] }} {{ none or 0 }}", "x [] 0"},
      {"{{ {missing: 1, absent: 2}|length }}", "1"},
      {"{{ 'a' 'b' \"c\" }}{{ '\\n\\x41\\u00e9\\q' }}", "abc\nA\xC3\xA9\\q"},
      {"{{ 1, 'a' }} {{ (1,) }} {{ () }} {{ [1, [2]] }}", "(1, 'a') (1,) () [1, [2]]"},
      {"{{ 10 is divisibleby 5 }} {{ 3 is not even }} {{ 2 is in [1, 2] }}", "True True True"},
      {"{{ 1_000 }} {{ 0x1f }} {{ 1e3 }} {{ 1.50 }}", "1000 31 1000.0 1.5"},
  });
}

TEST(Numbers, PrintAsInPython) {
  expect_all({{"{{ x }}",
               "[1.0, 1e+16, 1e-07, -0.0, 123456789012345678901234567890, 18446744073709551615, 0.1, 1e+22, 100000.0]"},
              {"{{ x | tojson }}",
               "[1.0, 1e+16, 1e-07, -0.0, 123456789012345678901234567890, 18446744073709551615, 0.1, 1e+22, 100000.0]"},
              {"{{ x[4] > 5 }} {{ x[4] == x[4] }} {{ 9223372036854775807 < x[5] }}", "True True True"},
              {"{{ 5.0 // 2 }} {{ 2 ** -1 }}", "2.0 0.5"},
              {"{{ '42.7'|int }} {{ 'x'|int(3) }} {{ 'ff'|int(base=16) }}", "42 3 255"}},
             "[1.0, 1e16, 1e-7, -0.0, 123456789012345678901234567890, 18446744073709551615, 0.1, 1e22, 1E5]");
}

TEST(Strings, CountCharactersNotBytes) {
  expect_all(
      {{"{{ x|length }} {{ x[1] }} {{ x[-1] }} {{ x[1:3] }} {{ x[::-1] }}",
        "4 \xC3\xA9 \xF0\x9F\x9A\x80 \xC3\xA9\xE6\x97\xA5 "
        "\xF0\x9F\x9A\x80\xE6\x97\xA5\xC3\xA9"
        "a"},
       {"{{ x.upper() }} {{ x|capitalize }} {{ x.find('\xE6\x97\xA5') }}",
        "A\xC3\x89\xE6\x97\xA5\xF0\x9F\x9A\x80 A\xC3\xA9\xE6\x97\xA5\xF0\x9F\x9A\x80 2"},
       {"{{ 'stra\xC3\x9F"
        "e'.upper() }} {{ 'hello wORLD-x'|title }} {{ \"it's\".title() }}",
        "STRASSE Hello World-X It'S"},
       {"{{ ' a b '.split() }} {{ 'a,b,,c'.split(',') }} {{ 'a b c'.split(' ', 1) }}",
        "['a', 'b'] ['a', 'b', '', 'c'] ['a', 'b c']"},
       {"{{ ' a b  c '.split(none, 1) }} {{ ' a b  c '.rsplit(none, 1) }} {{ ' a b'.rsplit() }} {{ ' '.split() }}",
        "['a', 'b  c '] [' a b', 'c'] ['a', 'b'] []"},
       {"[{{ '\xC2\xA0 x\\n'.strip() }}] [{{ 'xxaxx'.strip('x') }}] {{ 'abab'.replace('b', 'c', 1) }}", "[x] [a] acab"},
       {"{{ 'ab'.startswith(('x', 'a')) }} {{ 'a' * 3 }} {{ 'l\\nm'|indent }}", "True aaa l\n    m"},
       {"{{ [\"it's\", '\"', '\\\\\\n', '\xE3\x80\x80'] }}", "[\"it's\", '\"', '\\\\\\n', '\\u3000']"}},
      "\"a\xC3\xA9\xE6\x97\xA5\xF0\x9F\x9A\x80\"");
}

TEST(Values, KeepTheOrderOfTheirKeysAndAreShared) {
  expect_all({{"{{ x }} {{ x|length }} {{ x|list }} {{ x.items()|list }}",
               "{'b': 1, 'a': None, 'items': [True]} 3 ['b', 'a', 'items'] [('b', 1), ('a', None), ('items', [True])]"},
              {"{{ x['items'] }} {{ x.get('a', 2) }} {{ x.get('z', 2) }} {{ x.zz }}{{ x['zz'] }}|", "[True] None 2 |"},
              {"{{ x|dictsort }} {{ x|tojson(separators=(',', ':')) }}",
               "[('a', None), ('b', 1), ('items', [True])] {\"b\":1,\"a\":null,\"items\":[true]}"},
              {"{{ x|tojson(indent=2) }}", "{\n  \"b\": 1,\n  \"a\": null,\n  \"items\": [\n    true\n  ]\n}"},
              {"{% set l = [] %}{% set m = l %}{% set _ = m.append(1) %}{{ l }}{{ l.pop(0) }}{{ l }}", "[1]1[]"},
              {"{% set d = dict(a=1) %}{% set _ = d.update({'b': 2}) %}{{ d }} {{ 'b' in d }} {{ 1 == 1.0 }} {{ {1: "
               "'x'}[true] }}",
               "{'a': 1, 'b': 2} True True x"}},
             R"({"b": 1, "a": null, "items": [true]})");
}

TEST(Lists, AreFilteredAsInJinja) {
  expect_all(
      {{"{{ y|sort }} {{ y|sort(reverse=true) }} {{ y|join('-') }} {{ y|first }}{{ y|last }}",
        "[1, 2, 3] [3, 2, 1] 3-1-2 32"},
       {"{{ ['b', 'A', 'a']|sort }} {{ ['b', 'A', 'a']|reverse|list }}", "['A', 'a', 'b'] ['a', 'A', 'b']"},
       {"{{ x|map(attribute='n')|list }} {{ x|selectattr('v')|map(attribute='n')|join }} {{ x|rejectattr('v', 'eq', "
        "1)|list|length }}",
        "['p', 'q'] p 1"},
       {"{{ y|select('gt', 1)|list }} {{ y|map('string')|list }} {{ range(5, 0, -2)|list }}",
        "[3, 2] ['3', '1', '2'] [5, 3, 1]"},
       {"{{ y[1:] }} {{ y[:-1] }} {{ y[::2] }} {{ y[9] }}|", "[1, 2] [3, 1] [3, 2] |"}},
      R"([{"n": "p", "v": 1}, {"n": "q", "v": 0}])");
}

TEST(Undefined, PrintsNothingAndIsFalseUntilItIsUsed) {
  expect_all(
      {{"{{ q }}|{{ q|default('d') }}|{{ q is defined }}|{{ q|length }}|{{ q|list }}|{% for a in q %}x{% endfor %}",
        "|d|False|0|[]|"},
       {"{{ ''|default('d') }}|{{ ''|default('d', true) }}|{{ q == r }}|{{ q is none }}|{{ 1 in q }}",
        "|d|True|False|False"}});
  for (const char* source : {"{{ q.a }}", "{{ q['a'] }}", "{{ q + 1 }}", "{{ 'a' + q }}", "{{ q() }}", "{{ q < 1 }}",
                             "{{ q|tojson }}", "{{ x.a.b }}"}) {
    EXPECT_TRUE(error_of([&] { render(source); }).thrown) << source;
  }
  expect_all({{"{{ {p: 1, q: 2} }} {{ {p: 1, q: 2}[r] }}", "{Undefined: 2} 2"},
              {"{% set d = {p: 1} %}{{ d[q] }} {{ q in d }} {{ [p].count(q) }}", "1 True 1"}});
  EXPECT_EQ(error_of([] { render("a\n{{ q.a }}"); }).message, "t:2: 'q' is undefined");
}

TEST(Loops, KnowWhereTheyAre) {
  expect_all({
      {"{% for a in y %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ "
       "loop.length }} {% endfor %}",
       "103TrueFalse3 212FalseFalse3 321FalseTrue3 "},
      {"{% for a in y if a > 1 %}{{ a }}{{ loop.length }}{% else %}none{% endfor %}", "3222"},
      {"{% for a in [] %}x{% else %}none{% endfor %}", "none"},
      {"{% for a in y %}{% if a == 1 %}{% continue %}{% endif %}{{ a }}{% if a == 2 %}{% break %}{% endif %}{% endfor "
       "%}",
       "32"},
      {"{% set s = 0 %}{% for a in y %}{% set s = s + a %}{{ s }}{% endfor %}{{ s }}", "3120"},
      {"{% set n = namespace(s=0) %}{% for a in y %}{% set n.s = n.s + a %}{% endfor %}{{ n.s }}", "6"},
      {"{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}", "a1"},
      {"{% for a in [1, [2, [3]]] recursive %}{% if a is sequence %}({{ loop(a) }}){% else %}{{ a }}{{ loop.depth }}{% "
       "endif %}{% endfor %}",
       "11(22(33))"},
      {"{% for a in y %}{{ loop.cycle('o', 'e') }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.changed(a > 1) }} {% "
       "endfor %}",
       "o1True e32True o1True "},
  });
}

TEST(Macros, TakeDefaultsNamesAndCallers) {
  expect_all({
      {"{% macro m(a, b='B', c=a) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, c=2) }}{{ m(b=3) }}",
       "[1B1][1B2][3]"},
      {"{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, k=2) }}", "(1,){'k': 2}"},
      {"{% macro m(a) %}<{{ caller(a) }}>{% endmacro %}{% call(v) m(5) %}v={{ v }}{% endcall %}", "<v=5>"},
      {"{% macro f(n) %}{{ n if n < 2 else f(n - 1)|int + f(n - 2)|int }}{% endmacro %}{{ f(10) }}", "55"},
      {"{% macro m() %}{{ late }}{% endmacro %}{% set late = 7 %}{{ m() }}", "7"},
      {"{% for a in y %}{% macro m() %}{{ a }}{% endmacro %}{{ m() }}{% endfor %}", "312"},
      {"{% set s %}a{{ 1 }}{% endset %}{{ s }}{% set s | upper %}b{% endset %}{{ s }}", "a1B"},
      {"{% filter upper|replace('A', 'x') %}abc{% endfilter %}{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}",
       "xBC3"},
      {"{% set a, b = 1, [2] %}{{ a }}{{ b }}{% set (c, d) = 'xy' %}{{ c }}{{ d }}{% generation %}g{% endgeneration %}",
       "1[2]xyg"},
  });
  for (const char* source :
       {"{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{% endmacro %}{{ m(b=2) }}",
        "{% macro m(a) %}{% endmacro %}{{ m(1, a=2) }}"}) {
    EXPECT_TRUE(error_of([&] { render(source); }).thrown) << source;
  }
}

TEST(Parser, NamesLineAndConstructOfWhatItDoesNotHave) {
  const std::vector<Case> cases = {
      {"a\n{% include 'b' %}", "t:2: expected a block that kl has, got \"include\""},
      {"{{ x|nosuch }}", "t:1: expected a filter that kl has, got nosuch"},
      {"{{ x|round }}", "t:1: expected a filter that kl has, got round"},
      {"\n\n{{ x is nosuch }}", "t:3: expected a test that kl has, got nosuch"},
      {"{% if x %}\n", "t:1: expected {% endif %} for the block of line 1, got the end of the template"},
      {"{{ x ", "t:1: expected }}, got the end of the template"},
      {"{# x", "t:1: expected #} after {#, got the end of the template"},
      {"{% endif %}", "t:1: expected a block that kl has, got \"endif\""},
      {"{{ x y }}", "t:1: expected }}, got \"y\""},
      {"{{ 'x }}", "t:1: expected ' at the end of a string"},
      {"{% break %}", "t:1: expected break and continue inside a loop only"},
      {"{{ ( }}", "t:1: expected an expression, got \"}\""},
      {"{{ 1 + }}", "t:1: expected an expression, got }}"},
      {"{{ a ? b }}", "t:1: expected an expression, got \"?\""},
      {"{% set 1 = 2 %}", "t:1: expected the name of a variable, got \"1\""},
      {"{{ 99999999999999999999 }}", "t:1: expected an integer of at most 64 bits, got 99999999999999999999"},
  };
  for (const Case& c : cases) {
    const ErrorSeen error = error_of([&] { render(c.source); });
    EXPECT_EQ(error.code, ErrorCode::kUnsupported) << c.source;
    EXPECT_EQ(error.message, c.expected) << c.source;
  }
}

TEST(Render, SaysWhatTheTemplateSays) {
  const ErrorSeen raised = error_of([] { render("\n{{ raise_exception('roles must ' ~ 'alternate') }}"); });
  EXPECT_EQ(raised.code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(raised.message, "t:2: roles must alternate");
  EXPECT_EQ(error_of([] { render("{{ 'a'.zfill(3) }}"); }).message, "t:1: expected a method that kl has, got zfill");
  EXPECT_EQ(error_of([] { render("{{ x }}", "{"); }).code, ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace kl::jinja
