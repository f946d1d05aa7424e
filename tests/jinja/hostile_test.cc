// A template is data of a stranger: whatever it does ends soon, in little memory, with an error that says where.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/utf8.h"
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

TEST(Hostile, WhatCallsItselfThroughAListEnds) {
  const auto error = [](const std::string& count) {
    return error_of([&] {
      Template("{% set a = [] %}{% set _ = a.append(a) %}{{ a|map(*(['map'] * " + count + ")) }}", "t").render({});
    });
  };
  EXPECT_TRUE(error("2000").mentions("levels deep"));
  EXPECT_TRUE(error("20000").mentions("memory"));
}

/// Millions of bytes searched for a million that almost occur everywhere: what takes the product of both never ends.
TEST(Hostile, SearchingTakesTheTimeOfReading) {
  const std::string texts = "{% set text = 'a' * 4000000 %}{% set part = 'a' * 2000000 %}";
  const auto start = std::chrono::steady_clock::now();
  for (const auto& [source, result] :
       std::vector<std::pair<std::string, std::string>>{{"{{ part ~ 'b' in text }}", "False"},
                                                        {"{{ text.find(part ~ 'b') }}", "-1"},
                                                        {"{{ text.count(part ~ 'b') }}", "0"},
                                                        {"{{ text.replace(part ~ 'b', '')|length }}", "4000000"},
                                                        {"{{ text.split(part ~ 'b')|length }}", "1"},
                                                        {"{{ text.rsplit('b' ~ part)|length }}", "1"},
                                                        {"{{ text.strip('b' * 2000000 ~ 'a')|length }}", "0"}}) {
    EXPECT_EQ(Template(texts + source, "t").render({}).bytes(), result) << source;
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(Hostile, MemoryIsCountedWhereverItIsHeld) {
  Limits limits;
  limits.memory_bytes = 32u << 20;
  limits.output_bytes = 1u << 20;
  const std::string name(100'000, 'n');
  for (const std::string& source : std::vector<std::string>{
           "{% set l = [] %}{% for i in range(999) %}{% set _ = l.append(x." + name + ") %}{% endfor %}",
           "{% set s = 'a' * 1000000 %}{% macro m(n) %}{{ s }}{% if n %}{{ m(n - 1) }}{% endif %}"
           "{% endmacro %}{{ m(40) }}",
           "{% set a = [1] * 50000 %}{{ " + repeated("dict(*a, x=", 40) + "raise_exception('deep')" +
               repeated(")", 40) + " }}",
           "{% set d = dict(" + name + "=1) %}{{ " + repeated("dict(**d, x=", 40) + "raise_exception('deep')" +
               repeated(")", 40) + " }}",
           "{% set a = [1] * 50000 %}{% macro m(n) %}{% for y in a if (n and m(n - 1)) or "
           "raise_exception('deep') %}{% endfor %}{% endmacro %}{{ m(40) }}"}) {
    const ErrorSeen error = error_of([&] { Template(source, "t").render({{"x", "[1]"}}, limits); });
    EXPECT_TRUE(error.mentions("memory") || error.mentions("keys of at most 256")) << error.message;
  }
}

TEST(Hostile, KeysOfManyDictsAreKeptOnce) {
  const auto most_memory = [] {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss / 1024;
  };
  const long before = most_memory();
  const Text made = Template(
                        "{% set s = 'a' * 4000000 %}{% set l = [] %}{% for i in range(300) %}"
                        "{% set _ = l.append({s: i}) %}{% endfor %}{{ l|length }} {{ l[7][s] }}",
                        "t")
                        .render({});
  EXPECT_EQ(made.bytes(), "300 7");
  EXPECT_LT(most_memory() - before, 600) << "MiB; a copy for each takes 1200";
}

TEST(Hostile, NamesOfParametersAreCountedAsWork) {
  std::string parameters, arguments;
  for (int i = 0; i < 5'000; ++i) {
    parameters += (i > 0 ? "," : "") + std::string("a") + std::to_string(i);
    arguments = "a" + std::to_string(i) + "=1" + (i > 0 ? "," : "") + arguments;
  }
  EXPECT_TRUE(render("{% macro m(" + parameters + ") %}{% endmacro %}{{ m(" + arguments + ") }}").mentions("steps"));
}

TEST(Hostile, MessagesAreShortAndWholeCharacters) {
  const auto message_of = [](const std::string& source) {
    return error_of([&] { Template(source, "t").render({{"x", "[1]"}}); }).message;
  };
  for (const std::string& source :
       {std::string("{{ raise_exception('a' ~ 'é' * 9000) }}"),
        std::string("{{ raise_exception('aa' ~ '🙂' * 9000) }}"), std::string("{{ {}.pop('é' * 99999) }}"),
        "{{ x|" + std::string(99'999, 'f') + " }}", "{{ x is " + std::string(99'999, 'f') + " }}",
        "{{ " + std::string(99'999, '9') + " }}", std::string("{{ x[0].y['é' * 99999] }}"),
        std::string("{{ x['b' ~ 'é' * 99999].y }}")}) {
    const std::string message = message_of(source);
    EXPECT_FALSE(message.empty());
    EXPECT_LT(message.size(), 5'000u);
    EXPECT_EQ(well_formed_prefix(message), message.size()) << message.substr(message.size() - 20);
  }
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
