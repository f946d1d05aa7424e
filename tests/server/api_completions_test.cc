// /v1/completions: prompts of every form, echo, scores, streams.
#include "tests/server/api_fixture.h"

namespace kl {
namespace {

class ApiCompletions : public ApiTest {
 protected:
  static constexpr const char* kPath = "/v1/completions";
};

TEST_F(ApiCompletions, WholeReply) {
  json reply = ok(kPath, {{"prompt", "Hi"}});
  EXPECT_TRUE(reply["id"].get<std::string>().starts_with("cmpl-"));
  EXPECT_EQ(reply["object"], "text_completion");
  EXPECT_EQ(reply["choices"],
            json::array({{{"index", 0}, {"text", "Hello world"}, {"logprobs", nullptr}, {"finish_reason", "stop"}}}));
  EXPECT_EQ(reply["usage"]["prompt_tokens"], demo_tokenizer().encode("Hi").size());
  EXPECT_EQ(backend->requests[0].options.max_tokens, 16) << "OpenAI's default";
}

TEST_F(ApiCompletions, EveryFormOfPrompt) {
  const std::vector<Token> hi = demo_tokenizer().encode("Hi");
  ok(kPath, {{"prompt", "Hi"}});
  ok(kPath, {{"prompt", hi}});
  const json two = ok(kPath, {{"prompt", {"Hi", "Ho"}}, {"n", 2}});
  const json ids = ok(kPath, {{"prompt", json::array({hi, hi, hi})}});
  EXPECT_EQ(backend->requests[0].prompt, hi);
  EXPECT_EQ(backend->requests[1].prompt, hi);
  EXPECT_EQ(backend->requests[2].prompt, hi);
  EXPECT_EQ(backend->requests[3].prompt, demo_tokenizer().encode("Ho"));
  ASSERT_EQ(two["choices"].size(), 4u);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(two["choices"][i]["index"], i);
  EXPECT_EQ(two["usage"]["prompt_tokens"], hi.size() + demo_tokenizer().encode("Ho").size())
      << "each prompt counts once";
  EXPECT_EQ(ids["choices"].size(), 3u);
}

TEST_F(ApiCompletions, PromptsThatAreNone) {
  EXPECT_EQ(refused(kPath, {{"prompt", ""}})["param"], "prompt");
  EXPECT_EQ(refused(kPath, {{"prompt", json::array()}})["param"], "prompt");
  EXPECT_EQ(refused(kPath, {{"prompt", {1, "a"}}})["param"], "prompt[1]");
  EXPECT_EQ(refused(kPath, {{"prompt", {1, 1024}}})["param"], "prompt[1]");
  EXPECT_EQ(refused(kPath, {{"prompt", {1, -1}}})["param"], "prompt[1]");
  EXPECT_EQ(refused(kPath, {{"prompt", {1, std::uint64_t{1} << 63}}})["param"], "prompt[1]");
  EXPECT_EQ(refused(kPath, {{"prompt", json::array({json::array({1, 2.5})})}})["param"], "prompt[0][1]");
  EXPECT_EQ(refused(kPath, {{"prompt", json::array({nullptr})}})["param"], "prompt[0]");
  EXPECT_EQ(refused(kPath, {{"prompt", json(std::vector<std::string>(129, "a"))}})["param"], "prompt");
}

TEST_F(ApiCompletions, TextOfAPromptIsText) {
  ok(kPath, {{"prompt", "<|im_end|>"}});
  for (const Token id : backend->requests[0].prompt) EXPECT_FALSE(demo_tokenizer().is_special(id));
}

TEST_F(ApiCompletions, EchoWithScoresOfThePrompt) {
  const std::vector<Token> ids = demo_tokenizer().encode("H\xc3\xa9llo");
  backend->script = [&ids](const EngineRequest& request) {
    EXPECT_TRUE(request.prompt_logprobs);
    EXPECT_EQ(request.score_from, 1);
    std::vector<EngineEvent> events = spoken(request, {" world"}, FinishReason::kLength);
    for (std::size_t i = 1; i < ids.size(); ++i)
      events[0].prompt_logprobs.push_back({ids[i], -1.5f, {{ids[i], -1.5f}}});
    return events;
  };
  const json choice =
      ok(kPath, {{"prompt", "H\xc3\xa9llo"}, {"echo", true}, {"logprobs", 1}, {"max_tokens", 1}})["choices"][0];
  EXPECT_EQ(choice["text"], "H\xc3\xa9llo world");
  const json& scores = choice["logprobs"];
  const std::size_t total = ids.size() + demo_tokenizer().encode(" world").size();
  for (const char* name : {"tokens", "token_logprobs", "top_logprobs", "text_offset"})
    EXPECT_EQ(scores[name].size(), total) << name;
  EXPECT_TRUE(scores["token_logprobs"][0].is_null());
  EXPECT_TRUE(scores["top_logprobs"][0].is_null());
  EXPECT_EQ(scores["token_logprobs"][1], -1.5);
  EXPECT_EQ(scores["text_offset"][0], 0);
  EXPECT_EQ(scores["text_offset"][ids.size()], 5) << "characters, not bytes";
  for (std::size_t i = 1; i < total; ++i) {
    EXPECT_TRUE(scores["top_logprobs"][i].contains(scores["tokens"][i].get<std::string>()))
        << "the drawn token is among them";
  }
  const std::vector<json> list = stream(kPath, {{"prompt", "H\xc3\xa9llo"}, {"echo", true}, {"logprobs", 1}});
  std::string text;
  std::size_t tokens = 0;
  for (const json& event : list) {
    if (!event.is_object()) continue;
    text += event["choices"][0]["text"];
    tokens += event["choices"][0]["logprobs"]["tokens"].size();
  }
  EXPECT_EQ(text, "H\xc3\xa9llo world");
  EXPECT_EQ(tokens, total);
}

TEST_F(ApiCompletions, ScoresAPromptFromWhereItIsAskedTo) {
  backend->script = [](const EngineRequest& request) {
    std::vector<EngineEvent> events = spoken(request, {}, FinishReason::kLength);
    for (auto i = static_cast<std::size_t>(request.score_from); i < request.prompt.size(); ++i)
      events[0].prompt_logprobs.push_back({request.prompt[i], -2, {}});
    return events;
  };
  json body = {{"prompt", {5, 6, 7}}, {"echo", true}, {"logprobs", 0}, {"max_tokens", 0}};
  const auto scores = [&](int from) {
    body["score_from"] = from;
    return ok(kPath, body)["choices"][0]["logprobs"];
  };
  EXPECT_EQ(scores(1)["token_logprobs"], json::array({nullptr, -2.0, -2.0}));
  EXPECT_EQ(scores(2)["token_logprobs"], json::array({nullptr, nullptr, -2.0}));
  EXPECT_EQ(scores(2)["tokens"], scores(1)["tokens"]);
  EXPECT_EQ(scores(2)["text_offset"], scores(1)["text_offset"]);
  EXPECT_EQ(scores(9)["token_logprobs"], json::array({nullptr, nullptr, nullptr}));
  body["score_from"] = 0;
  EXPECT_EQ(refused(kPath, body)["param"], "score_from");
}

TEST_F(ApiCompletions, ScoresAPromptWithoutDrawing) {
  backend->script = [](const EngineRequest& request) {
    EXPECT_EQ(request.options.max_tokens, 0);
    std::vector<EngineEvent> events = spoken(request, {}, FinishReason::kLength);
    for (std::size_t i = 1; i < request.prompt.size(); ++i)
      events[0].prompt_logprobs.push_back({request.prompt[i], -2, {}});
    return events;
  };
  const json choice =
      ok(kPath, {{"prompt", {5, 6, 7}}, {"echo", true}, {"logprobs", 0}, {"max_tokens", 0}})["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_EQ(choice["logprobs"]["token_logprobs"], json::array({nullptr, -2.0, -2.0}));
}

TEST_F(ApiCompletions, Stream) {
  const std::vector<json> list = stream(kPath, {{"prompt", "Hi"}, {"stream_options", {{"include_usage", true}}}});
  ASSERT_EQ(list.size(), 5u);
  EXPECT_EQ(list[0]["choices"],
            json::array({{{"index", 0}, {"text", "Hello"}, {"logprobs", nullptr}, {"finish_reason", nullptr}}}));
  EXPECT_EQ(list[2]["choices"],
            json::array({{{"index", 0}, {"text", ""}, {"logprobs", nullptr}, {"finish_reason", "stop"}}}));
  EXPECT_EQ(list[3]["choices"], json::array());
  EXPECT_EQ(list[3]["usage"], ok(kPath, {{"prompt", "Hi"}})["usage"]);
  EXPECT_EQ(list[4], "[DONE]");
}

TEST_F(ApiCompletions, ProgressOfAPrompt) {
  const std::vector<json> list = stream(kPath, {{"prompt", "Hi"}, {"return_progress", true}});
  EXPECT_EQ(list[0]["prompt_progress"]["cache"], 3);
  EXPECT_EQ(list[0]["prompt_progress"]["processed"], list[0]["prompt_progress"]["total"]);
}

TEST_F(ApiCompletions, WhatIsNotSupportedIsRefused) {
  EXPECT_EQ(refused(kPath, {{"prompt", "Hi"}, {"best_of", 2}})["param"], "best_of");
  EXPECT_EQ(refused(kPath, {{"prompt", "Hi"}, {"suffix", "there"}})["param"], "suffix");
  ok(kPath, {{"prompt", "Hi"}, {"best_of", 2}, {"n", 2}, {"suffix", ""}});
}

}  // namespace
}  // namespace kl
