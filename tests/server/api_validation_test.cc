// Every field of the table of parameters, with everything that can be wrong with it.  A new row is tested by being
// there.
#include <map>

#include "server/api/parameters.h"
#include "server/api/route_table.h"
#include "tests/server/api_fixture.h"

namespace kl {
namespace {

/// Where a body stands in a request: the least one around it, a JSON pointer to it, and how errors call that place.
struct Place {
  const char* route;
  json request;
  const char* pointer;
  const char* path;
};

json chat(const json& message) { return {{"messages", json::array({message})}}; }

const json kUser = {{"role", "user"}, {"content", "Hi"}};
const json kFunction = {{"name", "f"}, {"parameters", {{"type", "object"}}}};
const json kTool = {{"type", "function"}, {"function", kFunction}};

json with(json base, const std::string& name, json value) {
  base[name] = std::move(value);
  return base;
}

std::map<Body, Place> places() {
  const json call = {{"id", "functions.f:0"}, {"type", "function"}, {"function", {{"name", "f"}, {"arguments", "{}"}}}};
  const json choice = {{"type", "function"}, {"function", {{"name", "f"}}}};
  const json format = {{"type", "json_schema"}, {"json_schema", {{"name", "s"}, {"schema", {{"type", "object"}}}}}};
  const json parts = {{"role", "user"}, {"content", json::array({{{"type", "text"}, {"text", "Hi"}}})}};
  const json tools = with(chat(kUser), "tools", json::array({kTool}));
  const json response = {{"input", "Hi"}};
  const json item = {
      {"type", "message"}, {"role", "user"}, {"content", json::array({{{"type", "input_text"}, {"text", "Hi"}}})}};
  const json response_tool = {{"type", "function"}, {"name", "f"}};
  const json anthropic = with(chat(kUser), "max_tokens", 8);
  const json blocks = with(chat(parts), "max_tokens", 8);
  const json anthropic_tool = {{"name", "f"}, {"input_schema", {{"type", "object"}}}};
  const json anthropic_tools = with(anthropic, "tools", json::array({anthropic_tool}));
  return {
      {Body::kChat, {"/v1/chat/completions", chat(kUser), "", ""}},
      {Body::kCompletion, {"/v1/completions", {{"prompt", "Hi"}}, "", ""}},
      {Body::kResponse, {"/v1/responses", response, "", ""}},
      {Body::kMessages, {"/v1/messages", anthropic, "", ""}},
      {Body::kCountTokens, {"/v1/messages/count_tokens", chat(kUser), "", ""}},
      {Body::kLlamaCompletion, {"/completion", {{"prompt", "Hi"}}, "", ""}},
      {Body::kTokenize, {"/tokenize", {{"content", "Hi"}}, "", ""}},
      {Body::kDetokenize, {"/detokenize", {{"tokens", {1, 2}}}, "", ""}},
      {Body::kApplyTemplate, {"/apply-template", chat(kUser), "", ""}},
      {Body::kSlotFile, {"/slots/0?action=save", {{"filename", "a.bin"}}, "", ""}},
      {Body::kStreamOptions,
       {"/v1/chat/completions", with(chat(kUser), "stream_options", json::object()), "/stream_options",
        "stream_options"}},
      {Body::kChatMessage, {"/v1/chat/completions", chat(kUser), "/messages/0", "messages[0]"}},
      {Body::kTextPart, {"/v1/chat/completions", chat(parts), "/messages/0/content/0", "messages[0].content[0]"}},
      {Body::kToolCall,
       {"/v1/chat/completions", chat({{"role", "assistant"}, {"tool_calls", json::array({call})}}),
        "/messages/0/tool_calls/0", "messages[0].tool_calls[0]"}},
      {Body::kCalledFunction,
       {"/v1/chat/completions", chat({{"role", "assistant"}, {"tool_calls", json::array({call})}}),
        "/messages/0/tool_calls/0/function", "messages[0].tool_calls[0].function"}},
      {Body::kTool, {"/v1/chat/completions", tools, "/tools/0", "tools[0]"}},
      {Body::kFunction, {"/v1/chat/completions", tools, "/tools/0/function", "tools[0].function"}},
      {Body::kToolChoice, {"/v1/chat/completions", with(tools, "tool_choice", choice), "/tool_choice", "tool_choice"}},
      {Body::kChosenFunction,
       {"/v1/chat/completions", with(tools, "tool_choice", choice), "/tool_choice/function", "tool_choice.function"}},
      {Body::kResponseFormat,
       {"/v1/chat/completions", with(chat(kUser), "response_format", format), "/response_format", "response_format"}},
      {Body::kJsonSchema,
       {"/v1/chat/completions", with(chat(kUser), "response_format", format), "/response_format/json_schema",
        "response_format.json_schema"}},
      {Body::kPromptObject, {"/completion", {{"prompt", {{"prompt_string", "Hi"}}}}, "/prompt", "prompt"}},
      {Body::kResponseItem, {"/v1/responses", {{"input", json::array({item})}}, "/input/0", "input[0]"}},
      {Body::kResponsePart,
       {"/v1/responses", {{"input", json::array({item})}}, "/input/0/content/0", "input[0].content[0]"}},
      {Body::kResponseTool,
       {"/v1/responses", with(response, "tools", json::array({response_tool})), "/tools/0", "tools[0]"}},
      {Body::kResponseToolChoice,
       {"/v1/responses",
        with(with(response, "tools", json::array({response_tool})), "tool_choice",
             {{"type", "function"}, {"name", "f"}}),
        "/tool_choice", "tool_choice"}},
      {Body::kResponseText, {"/v1/responses", with(response, "text", json::object()), "/text", "text"}},
      {Body::kResponseTextFormat,
       {"/v1/responses", with(response, "text", {{"format", {{"type", "text"}}}}), "/text/format", "text.format"}},
      {Body::kAnthropicMessage, {"/v1/messages", anthropic, "/messages/0", "messages[0]"}},
      {Body::kAnthropicBlock, {"/v1/messages", blocks, "/messages/0/content/0", "messages[0].content[0]"}},
      {Body::kAnthropicTool, {"/v1/messages", anthropic_tools, "/tools/0", "tools[0]"}},
      {Body::kAnthropicToolChoice,
       {"/v1/messages", with(anthropic_tools, "tool_choice", {{"type", "auto"}}), "/tool_choice", "tool_choice"}},
  };
}

json deep_nest(int levels) {
  json value = 1;
  for (int i = 0; i < levels; ++i) value = json::array({value});
  return value;
}

/// Values that no request may have in a field of this row.
std::vector<json> bad_values(const Parameter& row) {
  std::vector<json> bad;
  if (!(row.types & kBoolean)) bad.push_back(true);
  if (!(row.types & (kInteger | kNumber))) bad.push_back(7);
  if (!(row.types & kNumber)) bad.push_back(0.5);
  if (!(row.types & kString)) bad.push_back("text");
  if (!(row.types & kArray)) bad.push_back(json::array({1}));
  if (!(row.types & kObject)) bad.push_back({{"a", 1}});
  if (row.types & (kInteger | kNumber)) {
    const double step = row.types & kNumber ? 0.001 : 1;
    if (row.min > -9e18)
      bad.push_back(row.types & kNumber ? json(row.min - step) : json(static_cast<std::int64_t>(row.min) - 1));
    if (row.max < 9e18)
      bad.push_back(row.types & kNumber ? json(row.max + step) : json(static_cast<std::int64_t>(row.max) + 1));
    bad.push_back(std::uint64_t{1} << 63);
    bad.push_back(1e300);
    bad.push_back(-1e300);
  }
  if (!row.one_of.empty()) bad.push_back("no such word");
  if (row.types & kString && !(row.types & kArray) && row.min_size > 0) bad.push_back("");
  if (row.types & kArray && row.min_size > 0) bad.push_back(json::array());
  if (row.types & kString && !(row.types & kArray) && row.max_size < 1u << 20)
    bad.push_back(std::string(row.max_size + 1, 'x'));
  if (row.types & kArray && row.max_size < 1u << 20) bad.push_back(json(std::vector<int>(row.max_size + 1, 1)));
  if (row.refused)
    bad.push_back(row.types & kString ? json("x") : row.types & kArray ? json::array({"x"}) : json(true));
  return bad;
}

class ApiValidation : public ApiTest {
 protected:
  ApiValidation() { make({.slot_save_path = "/nowhere"}); }

  /// The error's words and, where its schema has one, its parameter.
  static std::string subject(const FakeExchange& exchange) {
    const json error = json::parse(exchange.body).at("error");
    if (error.contains("param")) return error["param"].is_null() ? "" : error["param"].get<std::string>();
    const std::string message = error.at("message");  // Anthropic's has no param: the message begins with it
    return message.substr(0, message.find(": "));
  }
};

TEST_F(ApiValidation, KnowsWhereEveryBodyStands) { EXPECT_EQ(places().size(), kNumBodies); }

TEST_F(ApiValidation, TheLeastRequestsAreAccepted) {
  for (const auto& [body, place] : places()) EXPECT_EQ(post(place.route, place.request)->status, 200) << name_of(body);
}

TEST_F(ApiValidation, EveryBadValueIs400WithItsParam) {
  int tried = 0;
  for (const auto& [body, place] : places()) {
    for (const Parameter& row : parameters()) {
      if (!contains(row.in, body)) continue;
      const std::string path = (*place.path ? std::string(place.path) + "." : "") + std::string(row.name);
      for (const json& bad : bad_values(row)) {
        json request = place.request;
        request[json::json_pointer(place.pointer)][std::string(row.name)] = bad;
        const auto exchange = post(place.route, request);
        const std::string shown = bad.dump().substr(0, 60);
        EXPECT_EQ(exchange->status, 400) << name_of(body) << " " << path << " = " << shown << ": " << exchange->body;
        if (exchange->status != 400) continue;
        // A wrong element of a list is named with its place in it.
        EXPECT_EQ(subject(*exchange).substr(0, path.size()), path)
            << name_of(body) << " = " << shown << ": " << exchange->body;
        ++tried;
      }
    }
  }
  EXPECT_GT(tried, 1000);
}

TEST_F(ApiValidation, NullIsTheSameAsLeftOut) {
  for (const auto& [body, place] : places()) {
    for (const Parameter& row : parameters()) {
      if (!contains(row.in, body)) continue;
      json without = place.request, null = place.request;
      without[json::json_pointer(place.pointer)].erase(std::string(row.name));
      null[json::json_pointer(place.pointer)][std::string(row.name)] = nullptr;
      const auto expected = post(place.route, without), got = post(place.route, null);
      EXPECT_EQ(got->status, expected->status) << name_of(body) << " " << row.name << ": " << got->body;
      EXPECT_LT(got->status, 500) << got->body;
      if (!row.required) continue;
      ASSERT_EQ(got->status, 400) << name_of(body) << " " << row.name;
      EXPECT_TRUE(subject(*got).ends_with(row.name)) << got->body;
    }
  }
}

TEST_F(ApiValidation, WhatIsNoJsonIs400) {
  const std::vector<std::string> bodies = {"",
                                           "{",
                                           "[]",
                                           "null",
                                           "3",
                                           "\"x\"",
                                           "{\"a\":NaN}",
                                           "{\"temperature\":NaN}",
                                           "{\"temperature\":1e999}",
                                           "{}{}",
                                           "{\"a\":1,\"a\":2}",
                                           "{\"a\":\"\xff\"}",
                                           "{\"a\":" + deep_nest(70).dump() + "}",
                                           std::string(100000, '[')};
  for (const RouteRow& row : route_table()) {
    if (!row.body) continue;
    std::string path = row.path;
    if (row.body == Body::kSlotFile) path = "/slots/0?action=save";
    for (const std::string& body : bodies) {
      const auto exchange = call("POST", path, body);
      EXPECT_EQ(exchange->status, 400) << path << " " << body.substr(0, 60) << ": " << exchange->body;
    }
  }
}

TEST_F(ApiValidation, DeepNestsInAnyFieldAreBounded) {
  for (const auto& [body, place] : places()) {
    for (const Parameter& row : parameters()) {
      if (!contains(row.in, body)) continue;
      json request = place.request;
      request[json::json_pointer(place.pointer)][std::string(row.name)] = deep_nest(70);
      EXPECT_EQ(post(place.route, request)->status, 400) << name_of(body) << " " << row.name;
    }
  }
}

TEST_F(ApiValidation, UnknownFieldsAreIgnoredUnlessStrict) {
  for (const auto& [body, place] : places()) {
    json request = place.request;
    request[json::json_pointer(place.pointer)]["no_such_field"] = 1;
    EXPECT_EQ(post(place.route, request)->status, 200) << name_of(body);
  }
  make({.strict = true, .slot_save_path = "/nowhere"});
  for (const auto& [body, place] : places()) {
    json request = place.request;
    EXPECT_EQ(post(place.route, request)->status, 200) << name_of(body);
    request[json::json_pointer(place.pointer)]["no_such_field"] = 1;
    const auto exchange = post(place.route, request);
    ASSERT_EQ(exchange->status, 400) << name_of(body);
    EXPECT_TRUE(subject(*exchange).ends_with("no_such_field")) << exchange->body;
  }
}

TEST_F(ApiValidation, RowsAreSound) {
  for (const Parameter& row : parameters()) {
    EXPECT_FALSE(row.description.empty()) << row.name;
    EXPECT_TRUE(row.fallback.empty() || json::accept(row.fallback)) << row.name;
    EXPECT_FALSE(row.required && !row.fallback.empty()) << row.name;
    for (int i = 0; i < kNumBodies; ++i) {
      const Body body = static_cast<Body>(i);
      EXPECT_TRUE(!contains(row.in, body) || find_parameter(body, row.name) == &row)
          << row.name << " twice in " << name_of(body);
    }
  }
}

}  // namespace
}  // namespace kl
