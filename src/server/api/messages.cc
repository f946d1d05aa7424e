#include <nlohmann/json.hpp>
#include <utility>

#include "base/json.h"
#include "server/api/endpoints.h"
#include "server/api/fields.h"
#include "server/api/messages_request.h"
#include "server/api/reply.h"
#include "server/api/turn.h"
#include "server/api/usage.h"

namespace kl {
namespace {

/// The arguments of a call as an object; a call that a limit cut has none.
std::optional<OrderedJson> input_of(const ToolCall& call) {
  if (!call.complete || !call.valid_json) return std::nullopt;
  OrderedJson input = OrderedJson::parse(call.arguments, nullptr, /*allow_exceptions=*/false);
  return input.is_object() ? std::optional(std::move(input)) : std::nullopt;
}

/// The dialect of Anthropic's /v1/messages.
class MessagesReply final : public Reply {
 public:
  MessagesReply(const ApiContext& context, std::shared_ptr<Exchange> exchange, const MessagesRequest& request)
      : Reply(context, std::move(exchange), request.stream, ErrorSchema::kAnthropic),
        prompt_tokens_(static_cast<std::int64_t>(request.engine.prompt.size())),
        turn_(*context.tokenizer, request.calls_tools, request.stop) {}

 private:
  enum class Open { kNothing, kText, kCall };

  bool on_event(std::size_t, const EngineEvent& event) override {
    tally_.take(event);
    if (!std::exchange(begun_, true) && stream()) {  // only now is it known what came from the cache
      OrderedJson message = message_json(nullptr, nullptr);
      message["content"] = OrderedJson::array();
      emit({{"type", "message_start"}, {"message", std::move(message)}});
      emit({{"type", "ping"}});
    }
    if (event.kind == EngineEvent::Kind::kPrompt) return false;
    for (const ToolCallDelta& delta : turn_.take(event)) {
      if (stream()) send_delta(delta);
    }
    return turn_.over();
  }

  void on_over() override {
    const OrderedJson stop_sequence = turn_.stop_string().empty() ? OrderedJson() : OrderedJson(turn_.stop_string());
    if (!stream()) return reply(message_json(stop_reason(), stop_sequence));
    if (open_ == Open::kNothing && blocks_ == 0) open({{"type", "text"}, {"text", ""}}, Open::kText);
    close();
    emit({{"type", "message_delta"},
          {"delta", {{"stop_reason", stop_reason()}, {"stop_sequence", stop_sequence}}},
          {"usage", usage()}});
    emit({{"type", "message_stop"}});
  }

  void on_error(const ApiError& error) override {
    OrderedJson event = OrderedJson::parse(error_body(error, ErrorSchema::kAnthropic));
    emit(event);
  }

  void emit(const OrderedJson& event) { send(event, event["type"].get_ref<const std::string&>()); }

  void send_delta(const ToolCallDelta& delta) {
    switch (delta.kind) {
      case ToolCallDelta::Kind::kContent:
        if (open_ != Open::kText) open({{"type", "text"}, {"text", ""}}, Open::kText);
        emit_delta({{"type", "text_delta"}, {"text", delta.text}});
        break;
      case ToolCallDelta::Kind::kCall:
        open({{"type", "tool_use"}, {"id", delta.id}, {"name", delta.name}, {"input", OrderedJson::object()}},
             Open::kCall);
        break;
      case ToolCallDelta::Kind::kArguments:
        emit_delta({{"type", "input_json_delta"}, {"partial_json", delta.text}});
        break;
    }
  }

  void open(OrderedJson block, Open what) {
    close();
    open_ = what;
    emit({{"type", "content_block_start"}, {"index", blocks_}, {"content_block", std::move(block)}});
  }

  void emit_delta(OrderedJson delta) {
    emit({{"type", "content_block_delta"}, {"index", blocks_}, {"delta", std::move(delta)}});
  }

  void close() {
    if (open_ == Open::kNothing) return;
    emit({{"type", "content_block_stop"}, {"index", blocks_++}});
    open_ = Open::kNothing;
  }

  const char* stop_reason() const {
    if (turn_.calls_tools()) return "tool_use";
    if (turn_.reason() != FinishReason::kStop) return "max_tokens";
    return turn_.stop_string().empty() ? "end_turn" : "stop_sequence";
  }

  OrderedJson message_json(OrderedJson reason, OrderedJson stop_sequence) const {
    OrderedJson content = OrderedJson::array();
    std::vector<OrderedJson> calls;
    for (const ToolCall& call : turn_.calls()) {
      if (std::optional<OrderedJson> input = input_of(call)) {
        calls.push_back({{"type", "tool_use"}, {"id", call.id}, {"name", call.name}, {"input", std::move(*input)}});
      }
    }
    if (!turn_.content().empty() || calls.empty()) content.push_back({{"type", "text"}, {"text", turn_.content()}});
    for (OrderedJson& call : calls) content.push_back(std::move(call));
    return {{"id", id_},
            {"type", "message"},
            {"role", "assistant"},
            {"model", context().options.model_name},
            {"content", std::move(content)},
            {"stop_reason", std::move(reason)},
            {"stop_sequence", std::move(stop_sequence)},
            {"usage", usage()}};
  }

  /// Anthropic counts what came from a cache apart from the rest of the input.
  OrderedJson usage() const {
    return {{"input_tokens", prompt_tokens_ - tally_.tokens.cached},
            {"cache_creation_input_tokens", 0},
            {"cache_read_input_tokens", tally_.tokens.cached},
            {"output_tokens", tally_.tokens.generated},
            {"cache_miss_reason", miss_reason(tally_.miss)}};
  }

  const std::int64_t prompt_tokens_;
  const std::string id_ = new_id("msg_");
  Turn turn_;
  Tally tally_;
  bool begun_ = false;
  Open open_ = Open::kNothing;
  int blocks_ = 0;  // closed so far, so the index of the one that is open
};

}  // namespace

Handler messages_handler(const ApiContext& context) {
  return [&context](const HttpRequest& http) -> Answer {
    const OrderedJson json = parse_body(http.body);
    const auto request = std::make_shared<MessagesRequest>(
        read_messages_request(context, Fields(json, Body::kMessages, "", context.options.strict)));
    return [&context, request](const std::shared_ptr<Exchange>& exchange) {
      std::make_shared<MessagesReply>(context, exchange, *request)->start({request->engine});
    };
  };
}

Handler count_tokens_handler(const ApiContext& context) {
  return [&context](const HttpRequest& http) {
    const OrderedJson json = parse_body(http.body);
    const Fields body(json, Body::kCountTokens, "", context.options.strict);
    check_model_name(context, body.text("model").value_or(""));
    const Tools tools = read_anthropic_tools(body);
    return answer_with({{"input_tokens", read_messages_prompt(context, body, tools).size()}});
  };
}

}  // namespace kl
