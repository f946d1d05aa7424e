#include <nlohmann/json.hpp>
#include <utility>

#include "server/api/conversation.h"
#include "server/api/endpoints.h"
#include "server/api/fields.h"
#include "server/api/generate_options.h"
#include "server/api/reply.h"
#include "server/api/token_json.h"
#include "server/api/tools.h"
#include "server/api/turn.h"
#include "server/api/usage.h"

namespace kl {
namespace {

struct ChatRequest {
  EngineRequest engine;
  bool stream = false;
  bool include_usage = false;
  bool logprobs = false;
  bool timings_per_token = false;
  bool return_progress = false;
  bool calls_tools = false;
  std::vector<std::string> stop;  ///< where calls_tools
};

/// continue_final_message, which vLLM's and llama.cpp's clients know.
bool continues_last(const Fields& body, const Conversation& conversation) {
  if (!*body.boolean("continue_final_message")) return false;
  if (body.find("add_generation_prompt") && *body.boolean("add_generation_prompt")) {
    body.refuse("continue_final_message", "expected it without add_generation_prompt, got both");
  }
  if (!conversation.ends_with_text()) {
    body.refuse("continue_final_message", "expected messages that end with an assistant's text, got others");
  }
  return true;
}

ChatRequest read_request(const ApiContext& context, const Fields& body) {
  check_model_name(context, body.text("model").value_or(""));
  ChatRequest request;
  request.engine = read_engine_request(context, body);
  request.stream = *body.boolean("stream");
  if (const auto options = body.object("stream_options", Body::kStreamOptions)) {
    request.include_usage = *options->boolean("include_usage");
  }
  request.timings_per_token = *body.boolean("timings_per_token");
  request.return_progress = *body.boolean("return_progress");
  request.engine.n = static_cast<int>(*body.integer("n"));

  request.logprobs = *body.boolean("logprobs");
  const auto top = static_cast<int>(*body.integer("top_logprobs"));
  if (top > 0 && !request.logprobs) body.refuse("top_logprobs", "expected logprobs to be true as well");
  if (request.logprobs) request.engine.options.sampling.logprobs = top;

  const Tools tools = read_chat_tools(body);
  const Conversation conversation = read_chat_messages(body);
  apply_tools(context, body, tools, request.engine);
  request.calls_tools = tools.may_call();
  if (request.calls_tools) request.stop = std::exchange(request.engine.options.stop, {});

  ChatPromptOptions options = read_prompt_options(body);
  options.continue_last = continues_last(body, conversation);
  const auto max_tokens = read_alias(body, {"max_completion_tokens", "max_tokens", "n_predict"});
  set_prompt(context, request.engine, make_chat_prompt(context, conversation, tools, options), max_tokens, "messages");
  return request;
}

/// The dialect of /v1/chat/completions.
class ChatReply final : public Reply {
 public:
  ChatReply(const ApiContext& context, std::shared_ptr<Exchange> exchange, const ChatRequest& request)
      : Reply(context, std::move(exchange), request.stream, ErrorSchema::kOpenAi),
        request_(request),
        prompt_tokens_(static_cast<std::int64_t>(request.engine.prompt.size())) {
    for (int i = 0; i < request.engine.n; ++i) choices_.emplace_back(*context.tokenizer, request);
  }

 private:
  struct Choice {
    Choice(const Tokenizer& tokenizer, const ChatRequest& request)
        : turn(tokenizer, request.calls_tools, request.stop), logprobs(OrderedJson::array()) {}
    Turn turn;
    Tally tally;
    OrderedJson logprobs;  // of a stream: those not sent yet
  };

  void on_begin() override {
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      send(chunk(i, {{"role", "assistant"}, {"content", nullptr}}));
    }
  }

  bool on_event(std::size_t, const EngineEvent& event) override {
    const auto index = static_cast<std::size_t>(event.index);
    Choice& choice = choices_[index];
    choice.tally.take(event);
    if (event.kind == EngineEvent::Kind::kPrompt) {
      if (stream() && request_.return_progress) {
        OrderedJson progress = chunk(index, OrderedJson::object());
        progress["prompt_progress"] = choice.tally.progress();
        send(progress);
      }
      return false;
    }
    if (request_.logprobs) {
      for (OrderedJson& token : tokens_json(*context().tokenizer, event.logprobs, false)) {
        choice.logprobs.push_back(std::move(token));
      }
    }
    const std::vector<ToolCallDelta> deltas = choice.turn.take(event);
    if (stream()) {
      for (const ToolCallDelta& delta : deltas) send_delta(index, delta);
      if (choice.turn.over()) send_last(index);
    }
    return choice.turn.over();
  }

  void on_over() override {
    if (!stream()) return reply(whole());
    if (request_.include_usage) {
      OrderedJson last = envelope("chat.completion.chunk");
      last["choices"] = OrderedJson::array();
      last["usage"] = usage();
      last["timings"] = choices_[0].tally.timings();
      send(last);
    }
    send_done();
  }

  OrderedJson envelope(const char* object) const {
    return {{"id", id_},
            {"object", object},
            {"created", created_},
            {"model", context().options.model_name},
            {"system_fingerprint", fingerprint()}};
  }

  OrderedJson chunk(std::size_t index, OrderedJson delta, OrderedJson finish_reason = nullptr) {
    OrderedJson json = envelope("chat.completion.chunk");
    OrderedJson logprobs;
    if (request_.logprobs) {
      logprobs = {{"content", std::exchange(choices_[index].logprobs, OrderedJson::array())}, {"refusal", nullptr}};
    }
    json["choices"] = OrderedJson::array({{{"index", index},
                                           {"delta", std::move(delta)},
                                           {"logprobs", std::move(logprobs)},
                                           {"finish_reason", std::move(finish_reason)}}});
    if (request_.include_usage) json["usage"] = nullptr;
    return json;
  }

  void send_delta(std::size_t index, const ToolCallDelta& delta) {
    OrderedJson json;
    switch (delta.kind) {
      case ToolCallDelta::Kind::kContent:
        json = {{"content", delta.text}};
        break;
      case ToolCallDelta::Kind::kCall:
        json["tool_calls"] = OrderedJson::array({{{"index", delta.call},
                                                  {"id", delta.id},
                                                  {"type", "function"},
                                                  {"function", {{"name", delta.name}, {"arguments", ""}}}}});
        break;
      case ToolCallDelta::Kind::kArguments:
        json["tool_calls"] = OrderedJson::array({{{"index", delta.call}, {"function", {{"arguments", delta.text}}}}});
        break;
    }
    OrderedJson message = chunk(index, std::move(json));
    if (request_.timings_per_token) message["timings"] = choices_[index].tally.timings();
    send(message);
  }

  void send_last(std::size_t index) {
    const Choice& choice = choices_[index];
    OrderedJson last =
        chunk(index, OrderedJson::object(), openai_finish_reason(choice.turn.reason(), choice.turn.calls_tools()));
    if (!request_.include_usage) last["timings"] = choice.tally.timings();
    send(last);
  }

  OrderedJson whole() {
    OrderedJson json = envelope("chat.completion");
    json["choices"] = OrderedJson::array();
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      Choice& choice = choices_[i];
      OrderedJson message = {{"role", "assistant"}, {"content", choice.turn.content()}, {"refusal", nullptr}};
      if (choice.turn.calls_tools()) {
        if (choice.turn.content().empty()) message["content"] = nullptr;
        for (const ToolCall& call : choice.turn.calls()) {
          message["tool_calls"].push_back({{"id", call.id},
                                           {"type", "function"},
                                           {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
        }
      }
      OrderedJson logprobs;
      if (request_.logprobs) logprobs = {{"content", std::move(choice.logprobs)}, {"refusal", nullptr}};
      json["choices"].push_back(
          {{"index", i},
           {"message", std::move(message)},
           {"logprobs", std::move(logprobs)},
           {"finish_reason", openai_finish_reason(choice.turn.reason(), choice.turn.calls_tools())}});
    }
    json["usage"] = usage();
    json["timings"] = choices_[0].tally.timings();
    return json;
  }

  OrderedJson usage() const {
    const Tally& first = choices_[0].tally;
    TokenCounts total{.prompt = prompt_tokens_, .cached = first.tokens.cached};
    for (const Choice& choice : choices_) total.generated += choice.tally.tokens.generated;
    return openai_usage(total, first.miss);
  }

  const ChatRequest request_;
  const std::int64_t prompt_tokens_;
  const std::string id_ = new_id("chatcmpl-");
  const std::int64_t created_ = unix_time();
  std::vector<Choice> choices_;
};

}  // namespace

Handler chat_tokens_handler(const ApiContext& context) {
  return [&context](const HttpRequest& http) {
    const OrderedJson json = parse_body(http.body);
    const Fields body(json, Body::kApplyTemplate, "", context.options.strict);
    const Tools tools = read_chat_tools(body);
    const Conversation conversation = read_chat_messages(body);
    return answer_with(
        {{"input_tokens", make_chat_prompt(context, conversation, tools, read_prompt_options(body)).size()}});
  };
}

Handler chat_handler(const ApiContext& context) {
  return [&context](const HttpRequest& http) -> Answer {
    const OrderedJson json = parse_body(http.body);
    const auto request =
        std::make_shared<ChatRequest>(read_request(context, Fields(json, Body::kChat, "", context.options.strict)));
    return [&context, request](const std::shared_ptr<Exchange>& exchange) {
      std::make_shared<ChatReply>(context, exchange, *request)->start({request->engine});
    };
  };
}

}  // namespace kl
