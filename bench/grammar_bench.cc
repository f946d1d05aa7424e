// What structured output costs: grammar_bench DIR
//
// DIR holds tiktoken.model.  For texts that a model could write, prints the time to compile their schema, and of the
// masks on the way through the text: mean, the slowest in a hundred, the slowest; when the schema is new and when it
// has been used before.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <numeric>
#include <string>
#include <vector>

#include "kl/error.h"
#include "kl/structured.h"
#include "kl/tokenizer.h"

namespace {

/// Time of this thread alone, so that what else runs on the machine matters less.
double now() {
  std::timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}
double microseconds_since(double start) { return now() - start; }

struct Example {
  const char* name;
  const char* schema;
  const char* text;
};

constexpr Example kExamples[] =
    {
        {"any object", R"({"type":"object"})",
         R"({"title": "The Tempest", "year": 1611, "acts": [1, 2, 3, 4, 5], "characters": [{"name": "Prospero", "role": "duke, and a man of many books"}, {"name": "Ariel", "role": "spirit of the air"}], "finished": true, "rating": 4.75, "note": null})"},
        {"person",
         R"({"type":"object","properties":{"name":{"type":"string","minLength":1,"maxLength":80},"age":{"type":"integer","minimum":0,"maximum":150},"email":{"type":"string","format":"email"},"born":{"type":"string","format":"date"},"tags":{"type":"array","items":{"type":"string"},"maxItems":10},"address":{"type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"},"zip":{"type":"string","pattern":"^[0-9]{5}$"}},"required":["street","city"],"additionalProperties":false}},"required":["name","age"],"additionalProperties":false})",
         R"({"name": "Rosalind Franklin", "age": 37, "email": "rosalind@kings.example.org", "born": "1920-07-25", "tags": ["chemistry", "X-ray diffraction", "DNA"], "address": {"street": "22 Drury Lane, second floor", "city": "London", "zip": "20520"}})"},
        {"events",
         R"({"$defs":{"event":{"type":"object","properties":{"kind":{"enum":["created","updated","deleted","moved"]},"at":{"type":"string","format":"date-time"},"by":{"anyOf":[{"type":"null"},{"type":"string"},{"$ref":"#/$defs/user"}]},"amount":{"type":"number","minimum":0}},"required":["kind","at","by"],"additionalProperties":false},"user":{"type":"object","properties":{"id":{"type":"string","format":"uuid"},"login":{"type":"string","pattern":"^[a-z][a-z0-9_]{2,30}$"}},"required":["id","login"],"additionalProperties":false}},"type":"object","properties":{"events":{"type":"array","items":{"$ref":"#/$defs/event"},"minItems":1}},"required":["events"],"additionalProperties":false})",
         R"({"events": [{"kind": "created", "at": "2024-03-05T12:30:00Z", "by": {"id": "123e4567-e89b-12d3-a456-426614174000", "login": "rosalind_franklin"}, "amount": 12.5}, {"kind": "deleted", "at": "2024-03-06T07:00:59Z", "by": "the night watchman"}, {"kind": "moved", "at": "2024-04-01T00:00:00+02:00", "by": null, "amount": 0}]})"},
        {"tree",
         R"({"type":"object","properties":{"value":{"type":"string"},"children":{"type":"array","items":{"$ref":"#"}}},"required":["value","children"],"additionalProperties":false})",
         R"({"value": "root of all", "children": [{"value": "left branch", "children": []}, {"value": "right branch", "children": [{"value": "leaf", "children": []}]}]})"},
        {"map",
         R"({"type":"object","properties":{"version":{"const":3}},"required":["version"],"additionalProperties":{"type":"object","properties":{"count":{"type":"integer"},"label":{"type":"string","maxLength":40}},"required":["count"],"additionalProperties":false}})", R"({"version": 3, "apples": {"count": 12, "label": "red and green ones"}, "unripe pears": {"count": -3}, "Zwetschgen": {"count": 100000, "label": "blue"}})"},
        {"pretty",
         R"({"type":"object","properties":{"title":{"type":"string"},"steps":{"type":"array","items":{"type":"object","properties":{"explanation":{"type":"string"},"output":{"type":"string"}},"required":["explanation","output"],"additionalProperties":false}},"answer":{"type":"string"}},"required":["title","steps","answer"],"additionalProperties":false})",
         "{\n  \"title\": \"Solve 8x + 7 = -23\",\n  \"steps\": [\n    {\n      \"explanation\": \"Subtract 7 from "
         "both sides of the equation, so that only the term with x is left.\",\n      \"output\": \"8x = -30\"\n    "
         "},\n    {\n      \"explanation\": \"Divide by 8.\",\n      \"output\": \"x = -30/8\"\n    }\n  ],\n  "
         "\"answer\": \"x = -3.75\"\n}"},
};

/// Times of the masks on the way through `ids`.
std::vector<double> mask_times(const kl::Grammar& grammar, const std::vector<kl::Token>& ids, std::size_t words) {
  std::vector<double> times;
  std::vector<std::uint64_t> mask(words);
  const auto state = grammar.start();
  for (const kl::Token id : ids) {
    const double start = now();
    state->allowed(mask);
    times.push_back(microseconds_since(start));
    const auto index = static_cast<std::size_t>(id);
    if ((mask[index / 64] >> (index % 64) & 1) == 0) {
      throw kl::Error(kl::ErrorCode::kFailure, fmt::format("token {}: expected it to be allowed", times.size()));
    }
    state->accept(id);
  }
  return times;
}

void print(const char* what, std::vector<double> times) {
  std::sort(times.begin(), times.end());
  const double mean = std::accumulate(times.begin(), times.end(), 0.0) / static_cast<double>(times.size());
  fmt::print("  {:8} {:6} masks   mean {:7.1f} us   p50 {:6.1f}   p99 {:7.1f}   max {:7.1f}\n", what, times.size(),
             mean, times[times.size() / 2], times[times.size() * 99 / 100], times.back());
}

int run(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: grammar_bench DIR\n");
    return 2;
  }
  const kl::Tokenizer tokenizer = kl::Tokenizer::open(argv[1]);
  const auto words = static_cast<std::size_t>(tokenizer.vocab_size() + 63) / 64;
  double start = now();
  kl::GrammarCompiler compiler(tokenizer);
  fmt::print("{} tokens: trie and the mask of strings in {:.0f} ms\n", tokenizer.vocab_size(),
             microseconds_since(start) / 1e3);
  std::vector<double> all_new, all_used;
  for (const Example& example : kExamples) {
    start = now();
    const auto grammar = compiler.json_schema(example.schema);
    fmt::print("{}: compiled in {:.2f} ms\n", example.name, microseconds_since(start) / 1e3);
    const std::vector<kl::Token> ids = tokenizer.encode(example.text);
    const auto first = mask_times(*grammar, ids, words);
    const auto second = mask_times(*grammar, ids, words);
    print("new", first);
    print("used", second);
    all_new.insert(all_new.end(), first.begin(), first.end());
    all_used.insert(all_used.end(), second.begin(), second.end());
  }
  fmt::print("all\n");
  print("new", all_new);
  print("used", all_used);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const kl::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
