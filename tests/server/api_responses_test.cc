// /v1/responses and Anthropic's /v1/messages.
#include "tests/server/api_fixture.h"

namespace kl {
namespace {

std::vector<EngineEvent> calling(const EngineRequest& request) {
  return spoken(request,
                {"Well.", "<|tool_calls_section_begin|>", "<|tool_call_begin|>", "functions.f:0",
                 "<|tool_call_argument_begin|>", "{\"a\":", " 1}", "<|tool_call_end|>", "<|tool_calls_section_end|>"});
}

std::vector<std::string> types(const std::vector<json>& events) {
  std::vector<std::string> list;
  for (const json& event : events)
    list.push_back(event.is_string() ? event.get<std::string>() : event["type"].get<std::string>());
  return list;
}

class ApiResponses : public ApiTest {
 protected:
  static constexpr const char* kPath = "/v1/responses";
  static json tools() {
    return json::array({{{"type", "function"}, {"name", "f"}, {"parameters", {{"type", "object"}}}}});
  }
};

TEST_F(ApiResponses, WholeReply) {
  const json reply = ok(kPath, {{"input", "Hi"}, {"max_output_tokens", 20}, {"metadata", {{"k", "v"}}}});
  EXPECT_TRUE(reply["id"].get<std::string>().starts_with("resp_"));
  EXPECT_EQ(reply["object"], "response");
  EXPECT_EQ(reply["status"], "completed");
  ASSERT_EQ(reply["output"].size(), 1u);
  EXPECT_TRUE(reply["output"][0]["id"].get<std::string>().starts_with("msg_"));
  EXPECT_EQ(reply["output"][0]["content"], json::array({{{"type", "output_text"},
                                                         {"text", "Hello world"},
                                                         {"annotations", json::array()},
                                                         {"logprobs", json::array()}}}));
  EXPECT_EQ(reply["usage"]["input_tokens_details"]["cached_tokens"], 3);
  EXPECT_EQ(reply["max_output_tokens"], 20);
  EXPECT_EQ(reply["metadata"], json({{"k", "v"}}));
  EXPECT_EQ(backend->requests[0].options.max_tokens, 20);
}

TEST_F(ApiResponses, Stream) {
  const std::vector<json> list = stream(kPath, {{"input", "Hi"}});
  EXPECT_EQ(types(list),
            (std::vector<std::string>{
                "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
                "response.output_text.delta", "response.output_text.delta", "response.output_text.done",
                "response.content_part.done", "response.output_item.done", "response.completed", "[DONE]"}));
  for (std::size_t i = 0; i + 1 < list.size(); ++i) EXPECT_EQ(list[i]["sequence_number"], i);
  EXPECT_EQ(list[4]["delta"], "Hello");
  EXPECT_EQ(list[4]["item_id"], list[2]["item"]["id"]);
  EXPECT_EQ(list[6]["text"], "Hello world");
  EXPECT_EQ(list[9]["response"]["output"][0], list[8]["item"]);
  EXPECT_EQ(list[9]["response"]["id"], list[0]["response"]["id"]);
}

TEST_F(ApiResponses, CallsAreItems) {
  backend->script = calling;
  const json output = ok(kPath, {{"input", "Hi"}, {"tools", tools()}})["output"];
  ASSERT_EQ(output.size(), 2u);
  EXPECT_EQ(output[0]["content"][0]["text"], "Well.");
  EXPECT_EQ(output[1]["type"], "function_call");
  EXPECT_EQ(output[1]["call_id"], "functions.f:0");
  EXPECT_EQ(output[1]["name"], "f");
  EXPECT_EQ(output[1]["arguments"], "{\"a\": 1}");
  const std::vector<json> list = stream(kPath, {{"input", "Hi"}, {"tools", tools()}});
  const std::vector<std::string> seen = types(list);
  EXPECT_GE(std::count(seen.begin(), seen.end(), "response.function_call_arguments.delta"), 2);
  EXPECT_EQ(std::count(seen.begin(), seen.end(), "response.function_call_arguments.done"), 1);
  EXPECT_EQ(list[list.size() - 2]["response"]["output"].size(), 2u);
}

TEST_F(ApiResponses, WhatALimitCutIsIncomplete) {
  backend->script = [](const EngineRequest& request) { return spoken(request, {"Hello"}, FinishReason::kLength); };
  const json reply = ok(kPath, {{"input", "Hi"}});
  EXPECT_EQ(reply["status"], "incomplete");
  EXPECT_EQ(reply["incomplete_details"], json({{"reason", "max_output_tokens"}}));
  EXPECT_EQ(types(stream(kPath, {{"input", "Hi"}})).end()[-2], "response.incomplete");
}

TEST_F(ApiResponses, FailuresEndTheStream) {
  backend->script = [](const EngineRequest&) {
    EngineEvent failed;
    failed.kind = EngineEvent::Kind::kFailed;
    failed.message = "no";
    return std::vector<EngineEvent>{failed};
  };
  const std::vector<json> list = stream(kPath, {{"input", "Hi"}});
  EXPECT_EQ(list.end()[-2]["type"], "response.failed");
  EXPECT_EQ(list.end()[-2]["response"]["error"]["message"], "no");
}

TEST_F(ApiResponses, GoesOnFromAStoredAnswer) {
  const std::string id = ok(kPath, {{"input", "Hi"}, {"instructions", "Be brief."}})["id"];
  ok(kPath, {{"input", "More"}, {"previous_response_id", id}});
  ok(kPath, {{"input", json::array({{{"role", "user"}, {"content", "Hi"}},
                                    {{"role", "assistant"},
                                     {"content", json::array({{{"type", "output_text"}, {"text", "Hello world"}}})}},
                                    {{"role", "user"}, {"content", "More"}}})}});
  EXPECT_EQ(backend->requests[1].prompt, backend->requests[2].prompt) << "instructions are those of one answer";
  EXPECT_EQ(json::parse(call("GET", "/v1/responses/" + id)->body)["id"], id);

  const std::string unstored = ok(kPath, {{"input", "Hi"}, {"store", false}})["id"];
  EXPECT_EQ(refused(kPath, {{"input", "More"}, {"previous_response_id", unstored}}, 404)["param"],
            "previous_response_id");
  EXPECT_EQ(call("GET", "/v1/responses/" + unstored)->status, 404);
}

TEST_F(ApiResponses, OldAnswersMakeRoom) {
  make({.max_stored_bytes = 8000});
  const std::string first = ok(kPath, {{"input", "Hi"}})["id"];
  for (int i = 0; i < 5; ++i) ok(kPath, {{"input", "Hi"}});
  EXPECT_EQ(call("GET", "/v1/responses/" + first)->status, 404);
}

TEST_F(ApiResponses, CallsAndOutputsAreMessages) {
  ok(kPath, {{"input", json::array({{{"role", "user"}, {"content", "Hi"}},
                                    {{"type", "function_call"}, {"call_id", "c1"}, {"name", "f"}, {"arguments", "{}"}},
                                    {{"type", "function_call_output"}, {"call_id", "c1"}, {"output", "17"}}})}});
  const json call = {{"id", "x"}, {"type", "function"}, {"function", {{"name", "f"}, {"arguments", "{}"}}}};
  ok("/v1/chat/completions",
     {{"messages", json::array({hello()[0],
                                {{"role", "assistant"}, {"tool_calls", json::array({call})}},
                                {{"role", "tool"}, {"tool_call_id", "x"}, {"content", "17"}}})}});
  EXPECT_EQ(backend->requests[0].prompt, backend->requests[1].prompt);
  EXPECT_EQ(refused(kPath, {{"input", json::array({{{"type", "function_call"}, {"name", "f"}}})}})["param"],
            "input[0].call_id");
}

class ApiMessages : public ApiTest {
 protected:
  static constexpr const char* kPath = "/v1/messages";
  static json request() { return {{"max_tokens", 50}, {"messages", hello()}}; }
  static json with_tools() {
    json body = request();
    body["tools"] = json::array({{{"name", "f"}, {"input_schema", {{"type", "object"}}}}});
    return body;
  }
};

TEST_F(ApiMessages, WholeReply) {
  const json reply = ok(kPath, request());
  EXPECT_TRUE(reply["id"].get<std::string>().starts_with("msg_"));
  EXPECT_EQ(reply["type"], "message");
  EXPECT_EQ(reply["role"], "assistant");
  EXPECT_EQ(reply["content"], json::array({{{"type", "text"}, {"text", "Hello world"}}}));
  EXPECT_EQ(reply["stop_reason"], "end_turn");
  EXPECT_EQ(reply["stop_sequence"], nullptr);
  EXPECT_EQ(reply["usage"]["cache_read_input_tokens"], 3);
  EXPECT_EQ(reply["usage"]["input_tokens"], backend->requests[0].prompt.size() - 3);
  EXPECT_FALSE(reply.contains("timings"));
}

TEST_F(ApiMessages, Stream) {
  const std::vector<json> list = stream(kPath, request());
  EXPECT_EQ(types(list),
            (std::vector<std::string>{"message_start", "ping", "content_block_start", "content_block_delta",
                                      "content_block_delta", "content_block_stop", "message_delta", "message_stop"}));
  EXPECT_EQ(list[0]["message"]["content"], json::array());
  EXPECT_EQ(list[0]["message"]["usage"]["cache_read_input_tokens"], 3);
  EXPECT_EQ(
      list[3],
      json({{"type", "content_block_delta"}, {"index", 0}, {"delta", {{"type", "text_delta"}, {"text", "Hello"}}}}));
  EXPECT_EQ(list[6]["delta"], json({{"stop_reason", "end_turn"}, {"stop_sequence", nullptr}}));
  EXPECT_GT(list[6]["usage"]["output_tokens"], 0);
}

TEST_F(ApiMessages, CallsAreBlocks) {
  backend->script = calling;
  const json reply = ok(kPath, with_tools());
  EXPECT_EQ(reply["stop_reason"], "tool_use");
  EXPECT_EQ(reply["content"],
            json::array({{{"type", "text"}, {"text", "Well."}},
                         {{"type", "tool_use"}, {"id", "functions.f:0"}, {"name", "f"}, {"input", {{"a", 1}}}}}));
  std::string arguments;
  for (const json& event : stream(kPath, with_tools())) {
    if (event["type"] == "content_block_delta" && event["index"] == 1) arguments += event["delta"]["partial_json"];
  }
  EXPECT_EQ(arguments, "{\"a\": 1}");
}

TEST_F(ApiMessages, StopReasons) {
  backend->script = [](const EngineRequest& r) { return spoken(r, {"Hello"}, FinishReason::kLength); };
  EXPECT_EQ(ok(kPath, request())["stop_reason"], "max_tokens");
  backend->script = [](const EngineRequest& r) {
    std::vector<EngineEvent> events = spoken(r, {"Hello"});
    events.back().stop_string = "END";
    return events;
  };
  json body = request();
  body["stop_sequences"] = {"END"};
  const json reply = ok(kPath, body);
  EXPECT_EQ(reply["stop_reason"], "stop_sequence");
  EXPECT_EQ(reply["stop_sequence"], "END");
}

TEST_F(ApiMessages, BlocksBecomeTheSameMessagesAsAChat) {
  json body = request();
  body["system"] = json::array({{{"type", "text"}, {"text", "Be brief."}}});
  body["messages"] = json::array(
      {{{"role", "user"}, {"content", "Hi"}},
       {{"role", "assistant"},
        {"content",
         json::array({{{"type", "tool_use"}, {"id", "toolu_1"}, {"name", "f"}, {"input", {{"b", 1}, {"a", 2}}}}})}},
       {{"role", "user"},
        {"content", json::array({{{"type", "tool_result"}, {"tool_use_id", "toolu_1"}, {"content", "17"}},
                                 {{"type", "text"}, {"text", "So?"}}})}}});
  ok(kPath, body);
  const json call = {
      {"id", "x"}, {"type", "function"}, {"function", {{"name", "f"}, {"arguments", "{\"a\":2,\"b\":1}"}}}};
  ok("/v1/chat/completions",
     {{"messages", json::array({{{"role", "system"}, {"content", "Be brief."}},
                                hello()[0],
                                {{"role", "assistant"}, {"content", ""}, {"tool_calls", json::array({call})}},
                                {{"role", "tool"}, {"tool_call_id", "x"}, {"content", "17"}},
                                {{"role", "user"}, {"content", "So?"}}})}});
  EXPECT_EQ(backend->requests[0].prompt, backend->requests[1].prompt);
}

TEST_F(ApiMessages, AnAnswerThatHasBegunGoesOn) {
  json body = request();
  body["messages"].push_back({{"role", "assistant"}, {"content", "Hel"}});
  ok(kPath, body);
  const std::vector<Token> hel = demo_tokenizer().encode("Hel");
  const std::vector<Token>& prompt = backend->requests[0].prompt;
  ASSERT_GT(prompt.size(), hel.size());
  EXPECT_TRUE(std::equal(hel.rbegin(), hel.rend(), prompt.rbegin())) << "nothing follows the beginning";
}

TEST_F(ApiMessages, CountsTokens) {
  ok(kPath, request());
  const json count = ok("/v1/messages/count_tokens", {{"messages", hello()}});
  EXPECT_EQ(count, json({{"input_tokens", backend->requests[0].prompt.size()}}));
}

TEST_F(ApiMessages, ErrorsAreAnthropics) {
  const auto exchange = post(kPath, {{"messages", hello()}});
  EXPECT_EQ(exchange->status, 400);
  const json error = json::parse(exchange->body);
  EXPECT_EQ(error["type"], "error");
  EXPECT_EQ(error["error"]["type"], "invalid_request_error");
  EXPECT_TRUE(error["error"]["message"].get<std::string>().starts_with("max_tokens: "));
}

}  // namespace
}  // namespace kl
