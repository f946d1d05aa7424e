#pragma once
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "server/api/api.h"
#include "tests/server/fake_backend.h"
#include "tests/server/fake_exchange.h"

namespace kl {

using nlohmann::json;

/// The demo's tokenizer, which has all control tokens, tool markers included.
inline const Tokenizer& demo_tokenizer() {
  static const Tokenizer tokenizer = Tokenizer::open(std::string(KL_SOURCE_DIR) + "/models/demo");
  return tokenizer;
}

/// An array of numbers as bytes.
inline std::string text_of(const json& bytes) {
  std::string text;
  for (const json& byte : bytes) text += static_cast<char>(byte.get<int>());
  return text;
}

/// What the fake engine says for a text: the prompt is read, one token an event, the last one ends it.
/// A piece that is the name of a control token is that token.
inline std::vector<EngineEvent> spoken(const EngineRequest& request, const std::vector<std::string>& pieces,
                                       FinishReason reason = FinishReason::kStop, int index = 0) {
  const Tokenizer& tokenizer = demo_tokenizer();
  std::vector<EngineEvent> events(1);
  events[0].kind = EngineEvent::Kind::kPrompt;
  events[0].index = index;
  events[0].tokens.prompt = events[0].prompt_done = static_cast<std::int64_t>(request.prompt.size());
  events[0].tokens.cached = 3;
  events[0].miss = CacheMiss::kDiverged;
  const auto add = [&](std::vector<Token> ids, const std::string& text) {
    EngineEvent event;
    event.index = index;
    event.text = text;
    for (const Token id : ids) {
      event.ids.push_back(id);
      if (!request.options.sampling.logprobs) continue;
      SampledToken token{id, -0.5f, {}};
      for (int i = 0; i < *request.options.sampling.logprobs; ++i)
        token.top.push_back({id + i, -0.5f - static_cast<float>(i)});
      event.logprobs.push_back(token);
    }
    events.push_back(std::move(event));
  };
  std::int64_t drawn = 0;
  for (const std::string& piece : pieces) {
    const Token control = tokenizer.special_id(piece);
    const std::vector<Token> ids = control >= 0 ? std::vector<Token>{control} : tokenizer.encode(piece);
    drawn += static_cast<std::int64_t>(ids.size());
    add(ids, piece);
  }
  EngineEvent last;
  last.kind = EngineEvent::Kind::kFinished;
  last.index = index;
  last.reason = reason;
  if (reason == FinishReason::kStop) last.ids.push_back(tokenizer.special_id("<|im_end|>"));
  if (reason == FinishReason::kStop && request.options.sampling.logprobs)
    last.logprobs.push_back({last.ids[0], -0.1f, {}});
  last.tokens.generated = drawn + static_cast<std::int64_t>(last.ids.size());
  last.prompt_seconds = 0.5;
  last.decode_seconds = 0.25;
  events.push_back(last);
  return events;
}

/// An Api over a FakeBackend.
class ApiTest : public ::testing::Test {
 protected:
  ApiTest() { make({}); }

  void make(ApiOptions options) {
    api_.reset();
    auto owned = std::make_unique<FakeBackend>();
    backend = owned.get();
    backend->script = [](const EngineRequest& request) {
      std::vector<EngineEvent> events;
      for (int i = 0; i < request.n; ++i) {
        for (EngineEvent& event : spoken(request, {"Hello", " world"}, FinishReason::kStop, i))
          events.push_back(std::move(event));
      }
      return events;
    };
    options.model_name = "demo";
    api_ = std::make_unique<Api>(std::move(owned), demo_tokenizer(), chat_template_, grammars_, std::move(options));
    routes_ = api_->routes();
  }

  /// Begins a request; what "/slots/3?action=save" says after '?' becomes the query.
  std::shared_ptr<FakeExchange> begin(const std::string& method, std::string path, std::string body) {
    HttpRequest request{.method = method, .path = std::move(path), .body = std::move(body), .request_id = "test"};
    if (const std::size_t mark = request.path.find('?'); mark != std::string::npos) {
      const std::string query = request.path.substr(mark + 1);
      const std::size_t equals = query.find('=');
      request.query.emplace_back(query.substr(0, equals), query.substr(equals + 1));
      request.path.resize(mark);
    }
    auto exchange = std::make_shared<FakeExchange>(request);
    for (const Route& route : routes_) {
      const std::size_t brace = route.path.find('{');
      const bool matches = brace == std::string::npos ? route.path == request.path
                                                      : request.path.size() > brace &&
                                                            request.path.compare(0, brace, route.path, 0, brace) == 0;
      if (route.method != method || !matches) continue;
      route.endpoint(exchange);
      return exchange;
    }
    ADD_FAILURE() << "no route for " << method << ' ' << request.path;
    return exchange;
  }

  /// The whole exchange.
  std::shared_ptr<FakeExchange> call(const std::string& method, const std::string& path, const std::string& body = {}) {
    auto exchange = begin(method, path, body);
    EXPECT_TRUE(exchange->run_until([&] { return exchange->ended; })) << path << " did not end: " << body;
    return exchange;
  }
  std::shared_ptr<FakeExchange> post(const std::string& path, const json& body) {
    return call("POST", path, body.dump());
  }

  /// The body of a reply that must succeed.
  json ok(const std::string& path, const json& body) {
    const auto exchange = post(path, body);
    EXPECT_EQ(exchange->status, 200) << exchange->body;
    return json::parse(exchange->body);
  }

  /// The error of a reply that must have this status; checks that it has OpenAI's four members.
  json refused(const std::string& path, const json& body, int status = 400) {
    const auto exchange = post(path, body);
    EXPECT_EQ(exchange->status, status) << exchange->body;
    const json error = json::parse(exchange->body).at("error");
    EXPECT_TRUE(error.at("message").is_string() && error.at("type").is_string()) << error;
    EXPECT_TRUE((error.at("param").is_string() || error.at("param").is_null()) &&
                (error.at("code").is_string() || error.at("code").is_null()))
        << error;
    return error;
  }

  /// The data of a stream's events; the last "[DONE]" as a string.
  static std::vector<json> events(const FakeExchange& exchange) {
    std::vector<json> list;
    EXPECT_EQ(exchange.content_type, "text/event-stream") << exchange.body;
    std::size_t at = 0;
    while (at < exchange.body.size()) {
      const std::size_t end = exchange.body.find("\n\n", at);
      EXPECT_NE(end, std::string::npos) << "an event that does not end";
      if (end == std::string::npos) break;
      std::string event = exchange.body.substr(at, end - at);
      std::string name;
      if (event.starts_with("event: ")) {
        name = event.substr(7, event.find('\n') - 7);
        event = event.substr(event.find('\n') + 1);
      }
      EXPECT_TRUE(event.starts_with("data: ")) << event;
      const std::string data = event.substr(6);
      list.push_back(data == "[DONE]" ? json(data) : json::parse(data));
      if (!name.empty()) {
        EXPECT_EQ(list.back().at("type"), name);
      }
      at = end + 2;
    }
    return list;
  }
  std::vector<json> stream(const std::string& path, json body) {
    body["stream"] = true;
    return events(*post(path, body));
  }

  static json hello() { return json::array({{{"role", "user"}, {"content", "Hi"}}}); }

  FakeBackend* backend = nullptr;

 private:
  ChatTemplate chat_template_ = ChatTemplate::builtin();
  GrammarCompiler grammars_{demo_tokenizer()};
  std::unique_ptr<Api> api_;
  std::vector<Route> routes_;
};

}  // namespace kl
