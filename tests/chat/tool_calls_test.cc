#include "kl/tool_calls.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/text/small_vocabulary.h"

namespace kl {
namespace {

using test::json;
using test::TemporaryFolder;

/// Single bytes and the tool markers: any text can be cut into tokens byte by byte, or, with words, otherwise.
const Tokenizer& byte_tokenizer() {
  static const Tokenizer tokenizer = [] {
    const TemporaryFolder folder;
    std::string ranks = test::bytes_only_model();
    int rank = 256;
    for (const char* word : {"fu", "func", "{\"", "\": ", "}\n", "  ", "\xE5\x8C\x97", "\x97\xE4", ":0", "tions"}) {
      ranks += test::base64_of(word) + " " + std::to_string(rank++) + "\n";
    }
    folder.write("tiktoken.model", ranks);
    json names;
    for (const char* name : {"<|im_end|>", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>",
                             "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"}) {
      names[std::to_string(rank++)] = {{"content", name}, {"special", std::string(name) == "<|im_end|>"}};
    }
    folder.write("tokenizer_config.json", json{{"added_tokens_decoder", names}}.dump());
    return Tokenizer::open(folder.path());
  }();
  return tokenizer;
}

/// "S" section begin, "/S" its end, "C" call begin, "A" arguments, "/C" call end, "." end of the turn, else text.
std::vector<Token> marked(const std::vector<std::string>& parts, std::mt19937* random = nullptr) {
  const std::map<std::string, const char*> markers = {
      {"S", "<|tool_calls_section_begin|>"}, {"/S", "<|tool_calls_section_end|>"}, {"C", "<|tool_call_begin|>"},
      {"A", "<|tool_call_argument_begin|>"}, {"/C", "<|tool_call_end|>"},          {".", "<|im_end|>"}};
  const Tokenizer& tokenizer = byte_tokenizer();
  std::vector<Token> ids;
  for (const std::string& part : parts) {
    if (const auto marker = markers.find(part); marker != markers.end()) {
      ids.push_back(tokenizer.special_id(marker->second));
      continue;
    }
    for (std::size_t i = 0; i < part.size();) {  // a random cut, or single bytes
      Token id = static_cast<unsigned char>(part[i]);
      for (Token word = 256; random && word < tokenizer.num_ranks(); ++word) {
        const std::string_view bytes = tokenizer.bytes_of(word);
        if (part.compare(i, bytes.size(), bytes) == 0 && (*random)() % 2 == 0) id = word;
      }
      ids.push_back(id);
      i += tokenizer.bytes_of(id).size();
    }
  }
  return ids;
}

json describe(const ToolCallParser& parser, const std::string& stop) {
  json calls = json::array(), errors = json::array();
  for (const ToolCall& call : parser.calls()) {
    calls.push_back({{"id", call.id},
                     {"name", call.name},
                     {"arguments", call.arguments},
                     {"complete", call.complete},
                     {"valid_json", call.valid_json}});
  }
  for (const std::string& error : parser.errors()) errors.push_back(error);
  return {{"content", parser.content()},
          {"tool_calls", calls},
          {"errors", errors},
          {"finish_reason", parser.calls_tools() ? "tool_calls" : stop}};
}

/// Deltas as the goldens have them: [index of the id, what became certain].
void add_events(json& events, std::size_t index, const std::vector<ToolCallDelta>& deltas) {
  for (const ToolCallDelta& delta : deltas) {
    json event;
    if (delta.kind == ToolCallDelta::Kind::kContent) event = {{"content", delta.text}};
    if (delta.kind == ToolCallDelta::Kind::kCall)
      event = {{"tool", delta.call}, {"id", delta.id}, {"name", delta.name}};
    if (delta.kind == ToolCallDelta::Kind::kArguments) event = {{"tool", delta.call}, {"arguments", delta.text}};
    events.push_back({index, event});
  }
}

struct Parsed {
  json result, events = json::array();
};

Parsed parse(const Tokenizer& tokenizer, const std::vector<Token>& ids, const std::string& stop) {
  ToolCallParser parser(tokenizer);
  Parsed parsed;
  for (std::size_t i = 0; i < ids.size(); ++i) add_events(parsed.events, i, parser.push(ids[i]));
  add_events(parsed.events, ids.size(), parser.finish(stop == "length"));
  parsed.result = describe(parser, stop);
  return parsed;
}

/// Deltas put together are the result.
void expect_consistent(const Parsed& parsed) {
  std::string content;
  std::vector<json> calls;
  for (const json& event : parsed.events) {
    const json& delta = event[1];
    if (delta.contains("content")) content += delta["content"].get<std::string>();
    if (delta.contains("id")) {
      ASSERT_EQ(delta["tool"], calls.size());
      calls.push_back({{"id", delta["id"]}, {"name", delta["name"]}, {"arguments", ""}});
    }
    if (delta.contains("arguments")) {
      json& arguments = calls.at(delta["tool"])["arguments"];
      arguments = arguments.get<std::string>() + delta["arguments"].get<std::string>();
    }
  }
  EXPECT_EQ(content, parsed.result["content"]);
  ASSERT_EQ(calls.size(), parsed.result["tool_calls"].size());
  for (std::size_t i = 0; i < calls.size(); ++i) {
    for (const char* key : {"id", "name", "arguments"}) EXPECT_EQ(calls[i][key], parsed.result["tool_calls"][i][key]);
  }
}

json result_of(const std::vector<std::string>& parts, const std::string& stop = "stop") {
  const Parsed parsed = parse(byte_tokenizer(), marked(parts), stop);
  expect_consistent(parsed);
  return parsed.result;
}

json call(const char* id, const char* name, const char* arguments, bool complete = true, bool valid = true) {
  return {{"id", id}, {"name", name}, {"arguments", arguments}, {"complete", complete}, {"valid_json", valid}};
}

TEST(ToolCalls, AreFoundBetweenTheirMarkers) {
  const json result = result_of({"I look.", "S", "C", " functions.get:0\n", "A", " {\"a\": 1} ", "/C", "\n", "C",
                                 "functions.put:1", "A", "/C", "/S", "."});
  EXPECT_EQ(result["content"], "I look.");
  EXPECT_EQ(result["tool_calls"],
            json::array({call("functions.get:0", "get", "{\"a\": 1}"), call("functions.put:1", "put", "{}")}));
  EXPECT_EQ(result["errors"], json::array());
  EXPECT_EQ(result["finish_reason"], "tool_calls");
}

TEST(ToolCalls, TextThatSpellsAMarkerIsText) {
  const json result =
      result_of({"<|tool_calls_section_begin|><|tool_call_begin|>functions.rm:0<|tool_call_end|>", "."});
  EXPECT_EQ(result["content"], "<|tool_calls_section_begin|><|tool_call_begin|>functions.rm:0<|tool_call_end|>");
  EXPECT_EQ(result["tool_calls"], json::array());
}

TEST(ToolCalls, NamesComeFromIds) {
  for (const auto& [id, name] : std::map<const char*, const char*>{{"functions.a:0", "a"},
                                                                   {"a:12", "a"},
                                                                   {"functions.a", "a"},
                                                                   {"functions.a.b:1", "a.b"},
                                                                   {"a:b", "a:b"},
                                                                   {"functions.n:t:4", "n:t"},
                                                                   {"call_1", "call_1"},
                                                                   {":0", ":0"}}) {
    const json calls = result_of({"C", id, "A", "{}", "/C", "."})["tool_calls"];
    if (std::string(id) == ":0") {
      EXPECT_TRUE(calls.empty());
    } else {
      EXPECT_EQ(calls, json::array({call(id, name, "{}")}));
    }
  }
}

TEST(ToolCalls, WhatIsMalformedIsReported) {
  const auto errors = [](const std::vector<std::string>& parts, const char* stop = "stop") {
    return result_of(parts, stop)["errors"];
  };
  EXPECT_EQ(errors({"a", "/C", "b", "/S", "A"}), json({"stray_marker", "stray_marker", "stray_marker"}));
  EXPECT_EQ(errors({"S", "text ", "C", "a", "A", "{}", "/C", "/S"}), json({"text_in_section: text"}));
  EXPECT_EQ(errors({"C", "a{}", "/C"}), json({"bad_call: a{}"}));
  EXPECT_EQ(errors({"C", "A", "{}", "/C"}), json({"bad_call: <|tool_call_argument_begin|>{}"}));
  EXPECT_EQ(errors({"C", "a", "/C"}), json({"no_argument_marker"}));
  EXPECT_EQ(errors({"C", "a", "A", "x", "/C"}), json({"arguments_not_json"}));
  EXPECT_EQ(errors({"C", "a", "A", "[1]", "/C"}), json({"arguments_not_object"}));
  EXPECT_EQ(errors({"C", "a", "A", "{\"x\"", "."}), json({"unterminated_call"}));
  EXPECT_EQ(errors({"C", "a"}, "length"), json({"unterminated_call: a"}));
}

TEST(ToolCalls, ACallCutByALimitEndsNoTurnWithTools) {
  EXPECT_EQ(result_of({"C", "a:0", "A", "{}"}, "length")["finish_reason"], "length");
  EXPECT_EQ(result_of({"C", "a:0", "A", "{}"}, "stop")["finish_reason"], "tool_calls");
  EXPECT_EQ(result_of({"C", "a:0", "A", "{", "."}, "stop")["finish_reason"], "stop");
}

TEST(ToolCalls, DeepArgumentsDoNotRecurse) {
  const std::string deep = std::string(30'000, '[') + std::string(30'000, ']');
  EXPECT_EQ(result_of({"C", "a", "A", "{\"x\":" + deep + "}", "/C", "."})["tool_calls"][0]["valid_json"], true);
}

/// Random sequences of markers and texts, cut into tokens in two ways.
TEST(ToolCalls, DoNotDependOnHowTextWasCutIntoTokens) {
  std::mt19937 random(1);
  const std::vector<std::string> pieces = {"S",
                                           "/S",
                                           "C",
                                           "A",
                                           "/C",
                                           "C",
                                           "A",
                                           "/C",
                                           "functions.f:0",
                                           "func",
                                           "{\"a\": 1}\n",
                                           " ",
                                           "\n\n",
                                           "  x  ",
                                           "{",
                                           "}",
                                           "\xE5\x8C\x97\xE4\xBA\xAC",
                                           "\xE5\x8C",
                                           "\xFF",
                                           "{\"k\": \"\xE4\xBA\xAC \"}",
                                           "."};
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> parts;
    for (std::size_t n = 1 + random() % 12; parts.size() < n;) parts.push_back(pieces[random() % pieces.size()]);
    const std::string stop = random() % 3 == 0 ? "length" : "stop";
    const Parsed bytes = parse(byte_tokenizer(), marked(parts), stop),
                 words = parse(byte_tokenizer(), marked(parts, &random), stop);
    EXPECT_EQ(bytes.result, words.result) << json(parts).dump(-1, ' ', true, json::error_handler_t::replace);
    expect_consistent(bytes);
    expect_consistent(words);
    if (HasFailure()) return;
  }
}

TEST(ToolCalls, EqualTheGoldensWholeAndStreamed) {
  const auto dir = test::shared_tokenizer();
  if (!dir) GTEST_SKIP() << "no oracle/tokenizer in $KL_SHARED or ../shared";
  const Tokenizer tokenizer = Tokenizer::open(*dir);
  int num_checked = 0;
  for (json golden : test::read_lines(*dir / "chat/tool_calls.jsonl.gz")) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    for (json& error : golden["expected"]["errors"]) {
      const std::string code = error["code"];
      error = error.contains("raw") ? code + ": " + error["raw"].get<std::string>() : code;
    }
    const Parsed parsed = parse(tokenizer, golden["ids"].get<std::vector<Token>>(), golden["stop"]);
    EXPECT_EQ(parsed.result, golden["expected"]);
    EXPECT_EQ(parsed.events, golden["events"]);
    ++num_checked;
  }
  EXPECT_EQ(num_checked, 123);
}

}  // namespace
}  // namespace kl
