// What happens to a request between client and engine: slow clients, clients that go, failures.
#include <future>
#include <map>
#include <sstream>

#include "server/metrics.h"
#include "tests/server/api_fixture.h"

namespace kl {
namespace {

class ApiReply : public ApiTest {
 protected:
  ApiReply() {
    backend->script = nullptr;  // events come when the test says so
  }

  std::shared_ptr<FakeExchange> begin_chat(bool stream) {
    auto exchange = begin("POST", "/v1/chat/completions", json({{"messages", hello()}, {"stream", stream}}).dump());
    EXPECT_TRUE(exchange->run_until([&] { return backend->requests.size() == 1; }));
    return exchange;
  }

  static EngineEvent text(const std::string& words) {
    EngineEvent event;
    event.text = words;
    event.ids = demo_tokenizer().encode(words);
    return event;
  }
  static EngineEvent finished(FinishReason reason) {
    EngineEvent event;
    event.kind = EngineEvent::Kind::kFinished;
    event.reason = reason;
    return event;
  }
  static EngineEvent failed(ErrorCode code) {
    EngineEvent event;
    event.kind = EngineEvent::Kind::kFailed;
    event.error = code;
    event.message = "logits: expected finite numbers, got NaN";
    return event;
  }
  static bool has(const FakeExchange& exchange, const std::string& words) {
    return exchange.body.find(words) != std::string::npos;
  }
};

TEST_F(ApiReply, StreamsAsTheEngineSpeaks) {
  const auto exchange = begin_chat(true);
  EXPECT_TRUE(exchange->streaming);
  backend->say(text("one"));
  EXPECT_TRUE(exchange->run_until([&] { return has(*exchange, "one"); }));
  EXPECT_FALSE(exchange->ended);
  backend->say(finished(FinishReason::kStop));
  EXPECT_TRUE(exchange->run_until([&] { return exchange->ended; }));
  EXPECT_TRUE(exchange->body.ends_with("data: [DONE]\n\n"));
}

TEST_F(ApiReply, WaitsForASlowClient) {
  const auto exchange = begin_chat(true);
  exchange->full = true;
  backend->say(text("one"));
  backend->say(text("two"));
  exchange->run_until([] { return true; });
  EXPECT_FALSE(has(*exchange, "one"));
  exchange->full = false;
  exchange->on_drained();
  EXPECT_TRUE(has(*exchange, "one") && has(*exchange, "two"));
  exchange->close();
}

TEST_F(ApiReply, AClientThatGoesStopsTheEngine) {
  for (const bool stream : {true, false}) {
    make({});
    backend->script = nullptr;
    const auto exchange = begin_chat(stream);
    backend->say(text("one"));
    exchange->run_until([] { return true; });
    EXPECT_EQ(backend->alive, 1);
    exchange->close();
    EXPECT_EQ(backend->alive, 0);
    EXPECT_EQ(backend->abandoned, 1);
    exchange->run_until([] { return true; });
    EXPECT_EQ(exchange->on_closed, nullptr);
    EXPECT_EQ(exchange.use_count(), 1) << "nothing keeps it alive";
  }
}

TEST_F(ApiReply, ARequestWhoseClientHasGoneIsNotRead) {
  make({.workers = 1});
  std::promise<void> gate;
  int erased = 0;
  backend->on_erase = [&erased, wait = gate.get_future().share()] {
    ++erased;
    wait.wait();
  };
  const auto first = begin("POST", "/slots/0?action=erase", "");
  const auto second = begin("POST", "/slots/0?action=erase", "");
  second->close();
  const auto third = begin("POST", "/slots/0?action=erase", "");
  gate.set_value();
  EXPECT_TRUE(third->run_until([&] { return third->ended; }));
  EXPECT_EQ(erased, 2);
  first->run_until([&] { return first->ended; });
  EXPECT_TRUE(second->run_until([&] { return second.use_count() == 1; }));
}

TEST_F(ApiReply, NothingKeepsAnAnsweredExchangeAlive) {
  const auto exchange = begin_chat(true);
  backend->say(finished(FinishReason::kStop));
  EXPECT_TRUE(exchange->run_until([&] { return exchange->on_closed == nullptr; }));
  EXPECT_EQ(exchange.use_count(), 1);
  EXPECT_EQ(backend->alive, 0);
  EXPECT_EQ(backend->abandoned, 0);
}

TEST_F(ApiReply, TellsTheLogWhatTextsCost) {
  backend->script = [](const EngineRequest& request) { return spoken(request, {"Hello", " world"}); };
  const json body = {{"prompt", {"Hi", "Ho"}}};
  const auto exchange = post("/v1/completions", body);
  const json usage = json::parse(exchange->body)["usage"];
  ASSERT_TRUE(exchange->tokens);
  EXPECT_EQ(exchange->tokens->prompt, usage["prompt_tokens"]);
  EXPECT_EQ(exchange->tokens->cached, usage["prompt_tokens_details"]["cached_tokens"]);
  EXPECT_EQ(exchange->tokens->generated, usage["completion_tokens"]);
}

TEST_F(ApiReply, ATextWhoseClientHasGoneCountsAsAborted) {
  Metrics metrics;
  make({.metrics = &metrics});
  backend->script = nullptr;
  const auto exchange = begin_chat(true);
  backend->say(text("one"));
  exchange->run_until([&] { return has(*exchange, "one"); });
  exchange->close();
  EXPECT_NE(metrics.text({}, true).find("kl_request_success_total{finished_reason=\"abort\"} 1\n"), std::string::npos);
  ASSERT_TRUE(exchange->tokens);
  EXPECT_EQ(exchange->tokens->generated, std::ssize(demo_tokenizer().encode("one")));
}

/// How many texts ended for each reason, as /metrics shows them.
std::map<std::string, int> finished_by_reason(const Metrics& metrics) {
  constexpr std::string_view kSeries = "kl_request_success_total{finished_reason=\"";
  std::map<std::string, int> counts;
  std::istringstream lines(metrics.text({}, true));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(kSeries)) continue;
    const std::size_t end = line.find('"', kSeries.size());
    counts[line.substr(kSeries.size(), end - kSeries.size())] = std::stoi(line.substr(line.find("} ") + 2));
  }
  return counts;
}

TEST_F(ApiReply, MetricsSayWhatTheClientWasTold) {
  Metrics metrics;
  make({.metrics = &metrics});
  const json tools = json::array({{{"type", "function"}, {"function", {{"name", "f"}}}}});
  json body = {{"messages", hello()}, {"tools", tools}, {"stop", "two"}};
  backend->script = nullptr;  // the stop string of a text that may call tools is found here, while the engine goes on
  auto exchange = begin("POST", "/v1/chat/completions", body.dump());
  EXPECT_TRUE(exchange->run_until([&] { return backend->requests.size() == 1; }));
  backend->say(text("one two three"));
  EXPECT_TRUE(exchange->run_until([&] { return exchange->ended; }));
  EXPECT_EQ(json::parse(exchange->body)["choices"][0]["finish_reason"], "stop");

  for (const auto reason : {FinishReason::kTimeout, FinishReason::kLength, FinishReason::kStop}) {
    backend->script = [reason](const EngineRequest& request) { return spoken(request, {"x"}, reason); };
    const json reply = ok("/v1/chat/completions", {{"messages", hello()}});
    EXPECT_EQ(reply["choices"][0]["finish_reason"], reason == FinishReason::kStop ? "stop" : "length");
  }
  EXPECT_EQ(finished_by_reason(metrics),
            (std::map<std::string, int>{{"stop", 2}, {"length", 2}, {"abort", 0}, {"error", 0}}));
}

TEST_F(ApiReply, AFailureIsAnEventInAStreamAndAStatusElsewhere) {
  auto exchange = begin_chat(true);
  backend->say(text("one"));
  backend->say(failed(ErrorCode::kFailure));
  EXPECT_TRUE(exchange->run_until([&] { return exchange->ended; }));
  const std::vector<json> list = events(*exchange);
  EXPECT_EQ(list.back()["error"]["type"], "server_error");
  EXPECT_FALSE(has(*exchange, "[DONE]"));

  make({});
  backend->script = nullptr;
  exchange = begin_chat(false);
  backend->say(failed(ErrorCode::kFailure));
  EXPECT_TRUE(exchange->run_until([&] { return exchange->ended; }));
  EXPECT_EQ(exchange->status, 500);
  EXPECT_EQ(json::parse(exchange->body)["error"]["param"], nullptr);
}

TEST_F(ApiReply, AServerThatStopsSaysSo) {
  const auto exchange = begin_chat(false);
  backend->say(finished(FinishReason::kCancelled));
  EXPECT_TRUE(exchange->run_until([&] { return exchange->ended; }));
  EXPECT_EQ(exchange->status, 503);
}

TEST_F(ApiReply, AFullQueueIs429) {
  backend->busy = true;
  const auto exchange = post("/v1/chat/completions", {{"messages", hello()}, {"stream", true}});
  EXPECT_EQ(exchange->status, 429);
  EXPECT_FALSE(exchange->streaming);
  EXPECT_EQ(exchange->headers, (Headers{{"Retry-After", "1"}}));
}

TEST_F(ApiReply, OneOfManyPromptsThatFailsEndsAll) {
  auto exchange = begin("POST", "/v1/completions", json({{"prompt", {"a", "b"}}}).dump());
  EXPECT_TRUE(exchange->run_until([&] { return backend->requests.size() == 2; }));
  backend->say(failed(ErrorCode::kOutOfMemory));
  EXPECT_TRUE(exchange->run_until([&] { return exchange->ended; }));
  EXPECT_EQ(exchange->status, 503);
  EXPECT_EQ(backend->alive, 0);
}

TEST_F(ApiReply, StreamHeadersKeepProxiesFromWaiting) {
  const auto exchange = begin_chat(true);
  EXPECT_EQ(exchange->headers, (Headers{{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}}));
  exchange->close();  // an open one and its reply hold each other
}

}  // namespace
}  // namespace kl
