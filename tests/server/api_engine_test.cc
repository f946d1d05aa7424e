// The endpoints over the real engine and the demo model: what clients get is what the model says.
#include "kl/generate.h"
#include "tests/server/api_fixture.h"
#include "tests/support/temp_dir.h"

namespace kl {
namespace {

const std::string kDemo = std::string(KL_SOURCE_DIR) + "/models/demo";
const ModelOptions kModelOptions = {.threads = 2, .isa = {}, .chunk_tokens = 64};

class ApiEngine : public testing::Test {
 protected:
  ApiEngine()
      : engine_(Model::open(kDemo, kModelOptions), demo_tokenizer(),
                {.parallel = 2, .ctx_size = 512, .cache_bytes = 64u << 20}),
        api_(make_backend(engine_), demo_tokenizer(), chat_template_, grammars_,
             {.model_name = "demo", .slot_save_path = folder_.path()}),
        routes_(api_.routes()) {}

  std::shared_ptr<FakeExchange> call(const std::string& path, const json& body, const std::string& action = {}) {
    HttpRequest request{.method = "POST", .path = path, .body = body.dump()};
    if (!action.empty()) request.query.emplace_back("action", action);
    auto exchange = std::make_shared<FakeExchange>(request);
    for (const Route& route : routes_) {
      const std::string begin = route.path.substr(0, route.path.find('{'));
      if (route.method != "POST" || (begin == route.path ? path != begin : !path.starts_with(begin))) continue;
      route.endpoint(exchange);
      EXPECT_TRUE(exchange->run_until([&] { return exchange->ended; }));
      return exchange;
    }
    ADD_FAILURE() << path;
    return exchange;
  }
  json ok(const std::string& path, const json& body, const std::string& action = {}) {
    const auto exchange = call(path, body, action);
    EXPECT_EQ(exchange->status, 200) << exchange->body;
    return json::parse(exchange->body);
  }
  static json greedy(const std::string& prompt, int tokens) {
    return {{"prompt", prompt}, {"max_tokens", tokens}, {"temperature", 0}, {"ignore_eos", true}};
  }

  TempDir folder_;
  ChatTemplate chat_template_ = ChatTemplate::builtin();
  GrammarCompiler grammars_{demo_tokenizer()};
  Engine engine_;
  Api api_;
  std::vector<Route> routes_;
};

TEST_F(ApiEngine, SaysWhatTheModelSays) {
  Model model = Model::open(kDemo, kModelOptions);
  SequenceState state = model.make_cache();
  GenerateOptions options;
  options.sampling.temperature = 0;
  options.max_tokens = 40;
  options.ignore_stop_tokens = true;
  const auto alone = generate(model, demo_tokenizer(), state, demo_tokenizer().encode("ROMEO:"), options);
  const json reply = ok("/v1/completions", greedy("ROMEO:", 40));
  EXPECT_EQ(reply["choices"][0]["text"], alone.text);
  EXPECT_EQ(reply["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(reply["usage"]["completion_tokens"], 40);

  json streamed = greedy("ROMEO:", 40);
  streamed["stream"] = true;
  std::string text;
  const auto exchange = call("/v1/completions", streamed);
  for (std::size_t at = 0, end; (end = exchange->body.find("\n\n", at)) != std::string::npos; at = end + 2) {
    const std::string data = exchange->body.substr(at + 6, end - at - 6);
    if (data != "[DONE]") text += json::parse(data)["choices"][0]["text"];
  }
  EXPECT_EQ(text, alone.text);
}

TEST_F(ApiEngine, ScoresOfAPromptDoNotDependOnTheCache) {
  json body = greedy("ROMEO: what light through yonder window breaks", 1);
  body["echo"] = true;
  body["logprobs"] = 2;
  const json cold = ok("/v1/completions", body)["choices"][0];
  const json warm = ok("/v1/completions", body)["choices"][0];
  EXPECT_EQ(cold, warm);
  const json& scores = cold["logprobs"];
  const std::size_t prompt = demo_tokenizer().encode(body["prompt"].get<std::string>()).size();
  ASSERT_EQ(scores["tokens"].size(), prompt + 1);
  EXPECT_TRUE(scores["token_logprobs"][0].is_null());
  for (std::size_t i = 1; i < prompt; ++i) {
    EXPECT_LT(scores["token_logprobs"][i], 0);
    double best = -1e9;
    for (const auto& [token, logprob] : scores["top_logprobs"][i].items()) best = std::max(best, logprob.get<double>());
    EXPECT_GE(best, scores["token_logprobs"][i].get<double>());
  }
  EXPECT_EQ(scores["text_offset"][prompt], body["prompt"].get<std::string>().size());
}

TEST_F(ApiEngine, ScoresWithoutDrawing) {
  const json choice = ok("/v1/completions",
                         {{"prompt", "ROMEO: what"}, {"max_tokens", 0}, {"echo", true}, {"logprobs", 0}})["choices"][0];
  EXPECT_EQ(choice["text"], "ROMEO: what");
  EXPECT_EQ(choice["logprobs"]["tokens"].size(), demo_tokenizer().encode("ROMEO: what").size());
}

TEST_F(ApiEngine, AChatRemembersWhatWasRead) {
  json messages = json::array({{{"role", "user"}, {"content", "What light through yonder window breaks?"}}});
  const json first = ok("/v1/chat/completions", {{"messages", messages}, {"max_tokens", 8}, {"temperature", 0}});
  messages.push_back(first["choices"][0]["message"]);
  messages.push_back({{"role", "user"}, {"content", "And then?"}});
  const json second = ok("/v1/chat/completions", {{"messages", messages}, {"max_tokens", 8}, {"temperature", 0}});
  EXPECT_GT(second["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
  EXPECT_EQ(first["usage"]["prompt_tokens_details"]["cache_miss_reason"], "cold");
}

TEST_F(ApiEngine, TextIOfManyIsTheTextOfSeedPlusI) {
  json body = {{"prompt", "ROMEO:"}, {"max_tokens", 12}, {"seed", 5}, {"n", 2}};
  const json both = ok("/v1/completions", body)["choices"];
  body["n"] = 1;
  EXPECT_EQ(both[0]["text"], ok("/v1/completions", body)["choices"][0]["text"]);
  body["seed"] = 6;
  EXPECT_EQ(both[1]["text"], ok("/v1/completions", body)["choices"][0]["text"]);
  body["seed"] = 5;
  body["n"] = 3;  // one more than there are slots: it waits
  const json three = ok("/v1/completions", body)["choices"];
  ASSERT_EQ(three.size(), 3u);
  EXPECT_EQ(three[1]["text"], both[1]["text"]);
}

TEST_F(ApiEngine, StructuredOutputIsValid) {
  const json schema = {{"type", "object"},
                       {"properties", {{"ok", {{"type", "boolean"}}}, {"kind", {{"enum", {"a", "b"}}}}}},
                       {"required", {"ok", "kind"}},
                       {"additionalProperties", false}};
  for (int seed = 0; seed < 5; ++seed) {
    const json reply =
        ok("/v1/chat/completions",
           {{"messages", json::array({{{"role", "user"}, {"content", "Say something."}}})},
            {"max_tokens", 200},
            {"seed", seed},
            {"response_format", {{"type", "json_schema"}, {"json_schema", {{"name", "s"}, {"schema", schema}}}}}});
    const json value = json::parse(reply["choices"][0]["message"]["content"].get<std::string>());
    EXPECT_TRUE(value.at("ok").is_boolean());
    EXPECT_TRUE(value.at("kind") == "a" || value.at("kind") == "b");
  }
}

TEST_F(ApiEngine, ARequiredCallIsMadeAndFollowsItsSchema) {
  const json parameters = {{"type", "object"},
                           {"properties", {{"unit", {{"enum", {"C", "F"}}}}}},
                           {"required", {"unit"}},
                           {"additionalProperties", false}};
  const json tool = {{"type", "function"},
                     {"function", {{"name", "weather"}, {"parameters", parameters}, {"strict", true}}}};
  const json reply =
      ok("/v1/chat/completions", {{"messages", json::array({{{"role", "user"}, {"content", "Weather?"}}})},
                                  {"tools", json::array({tool})},
                                  {"tool_choice", "required"},
                                  {"parallel_tool_calls", false},
                                  {"max_tokens", 200}});
  const json& choice = reply["choices"][0];
  ASSERT_EQ(choice["finish_reason"], "tool_calls") << reply;
  ASSERT_EQ(choice["message"]["tool_calls"].size(), 1u);
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["name"], "weather");
  const json arguments = json::parse(choice["message"]["tool_calls"][0]["function"]["arguments"].get<std::string>());
  EXPECT_TRUE(arguments.at("unit") == "C" || arguments.at("unit") == "F");
}

TEST_F(ApiEngine, ASavedSlotIsReadFromItsFile) {
  std::vector<Token> ids = demo_tokenizer().encode("ROMEO: what light through yonder window breaks");
  json body = {{"prompt", ids}, {"n_predict", 4}, {"temperature", 0}, {"id_slot", 1}, {"return_tokens", true}};
  const std::vector<Token> drawn = ok("/completion", body)["tokens"].get<std::vector<Token>>();
  const json saved = ok("/slots/1", {{"filename", "romeo"}}, "save");
  EXPECT_GT(saved["n_saved"], 0);
  EXPECT_EQ(saved["n_written"], std::filesystem::file_size(folder_ / "romeo"));
  EXPECT_GT(ok("/slots/1", json::object(), "erase")["n_erased"], 0);

  // A text that begins like it goes on from the file.
  ids.insert(ids.end(), drawn.begin(), drawn.end());
  ids.push_back(demo_tokenizer().encode("!").front());
  body = {{"prompt", ids}, {"n_predict", 0}, {"cache_prompt", true}};
  EXPECT_EQ(ok("/slots/0", {{"filename", "romeo"}}, "restore")["n_restored"], saved["n_saved"]);
  EXPECT_GT(ok("/completion", body)["tokens_cached"], 0);

  put_bytes(folder_ / "broken", "not a session");
  const auto broken = call("/slots/0", {{"filename", "broken"}}, "restore");
  EXPECT_EQ(broken->status, 400) << broken->body;
  EXPECT_EQ(json::parse(broken->body)["error"]["param"], "filename");
  EXPECT_EQ(broken->body.find(folder_.path().string()), std::string::npos);
}

}  // namespace
}  // namespace kl
