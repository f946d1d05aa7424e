#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "base/printable.h"
#include "server/api/endpoints.h"
#include "server/api/reply.h"
#include "server/api/response_items.h"
#include "server/api/response_request.h"
#include "server/api/response_store.h"
#include "server/api/token_json.h"
#include "server/api/turn.h"
#include "server/api/usage.h"

namespace kl {
namespace {

/// The dialect of /v1/responses.
class ResponseReply final : public Reply {
 public:
  ResponseReply(const ApiContext& context, std::shared_ptr<Exchange> exchange, std::shared_ptr<ResponseRequest> request)
      : Reply(context, std::move(exchange), request->stream, ErrorSchema::kOpenAi),
        request_(std::move(request)),
        prompt_tokens_(static_cast<std::int64_t>(request_->engine.prompt.size())),
        turn_(*context.tokenizer, request_->calls_tools, request_->stop),
        items_([this](OrderedJson event) { emit(std::move(event)); }) {}

 private:
  void on_begin() override {
    emit({{"type", "response.created"}, {"response", response("in_progress")}});
    emit({{"type", "response.in_progress"}, {"response", response("in_progress")}});
  }

  bool on_event(std::size_t, const EngineEvent& event) override {
    tally_.take(event);
    if (event.kind == EngineEvent::Kind::kPrompt) {
      if (request_->return_progress) {
        emit({{"type", "response.in_progress"},
              {"response", response("in_progress")},
              {"prompt_progress", tally_.progress()}});
      }
      return false;
    }
    std::string logprobs =
        request_->logprobs ? to_text(tokens_json(*context().tokenizer, event.logprobs, false)) : "[]";
    for (const ToolCallDelta& delta : turn_.take(event)) {
      const bool is_content = delta.kind == ToolCallDelta::Kind::kContent;
      items_.add(delta, is_content ? std::exchange(logprobs, "[]") : "[]");
    }
    return turn_.over();
  }

  void on_over() override {
    const bool complete = turn_.reason() == FinishReason::kStop;
    const char* status = complete ? "completed" : "incomplete";
    items_.finish(status);
    const OrderedJson whole = response(status);
    if (request_->store) store(whole);
    if (!stream()) return reply(whole);
    OrderedJson last = {{"type", complete ? "response.completed" : "response.incomplete"}, {"response", whole}};
    last["timings"] = tally_.timings();
    emit(std::move(last));
    send_done();
  }

  void on_error(const ApiError& error) override {
    OrderedJson failed = response("failed");
    failed["error"] = {{"code", "server_error"}, {"message", error.message}};
    emit({{"type", "response.failed"}, {"response", std::move(failed)}});
    send_done();
  }

  /// The event, numbered; nothing where nobody listens.
  void emit(OrderedJson event) {
    if (!stream()) return;
    event["sequence_number"] = sequence_++;
    const std::string type = event["type"];
    if (request_->timings_per_token && type == "response.output_text.delta") event["timings"] = tally_.timings();
    send(event, type);
  }

  OrderedJson response(const std::string& status) const {
    const bool over = status == "completed" || status == "incomplete";
    OrderedJson json = {{"id", id_},
                        {"object", "response"},
                        {"created_at", created_},
                        {"completed_at", over ? OrderedJson(unix_time()) : OrderedJson()},
                        {"status", status},
                        {"error", nullptr},
                        {"incomplete_details", nullptr},
                        {"model", context().options.model_name},
                        {"output", OrderedJson::parse(items_.output())},
                        {"usage", nullptr}};
    if (status == "incomplete") json["incomplete_details"] = {{"reason", "max_output_tokens"}};
    if (over) {
      json["usage"] = {{"input_tokens", prompt_tokens_},
                       {"input_tokens_details",
                        {{"cached_tokens", tally_.tokens.cached}, {"cache_miss_reason", miss_reason(tally_.miss)}}},
                       {"output_tokens", tally_.tokens.generated},
                       {"output_tokens_details", {{"reasoning_tokens", 0}}},
                       {"total_tokens", prompt_tokens_ + tally_.tokens.generated}};
    }
    json.update(OrderedJson::parse(request_->echoed));
    return json;
  }

  void store(const OrderedJson& whole) {
    Conversation conversation = request_->conversation;
    conversation.add_text("assistant", turn_.content());
    if (turn_.calls_tools()) {
      for (const ToolCall& call : turn_.calls()) conversation.add_call(call.id, call.name, call.arguments);
    }
    context().responses->put(id_, {std::move(conversation), to_text(whole)});
  }

  const std::shared_ptr<ResponseRequest> request_;
  const std::int64_t prompt_tokens_;
  const std::string id_ = new_id("resp_");
  const std::int64_t created_ = unix_time();
  Turn turn_;
  Tally tally_;
  ResponseItems items_;
  int sequence_ = 0;
};

}  // namespace

Handler response_handler(const ApiContext& context) {
  return [&context](const HttpRequest& http) -> Answer {
    const OrderedJson json = parse_body(http.body);
    auto request = std::make_shared<ResponseRequest>(
        read_response_request(context, Fields(json, Body::kResponse, "", context.options.strict)));
    return [&context, request = std::move(request)](const std::shared_ptr<Exchange>& exchange) {
      std::make_shared<ResponseReply>(context, exchange, request)->start({request->engine});
    };
  };
}

Handler stored_response_handler(const ApiContext& context) {
  return [&context](const HttpRequest& http) -> Answer {
    const std::string id = http.path.substr(http.path.rfind('/') + 1);
    const auto stored = context.responses->find(id);
    if (!stored) {
      throw ApiError{.status = 404,
                     .message = fmt::format("response_id: \"{}\" was never stored, or is forgotten", printable(id)),
                     .param = "response_id"};
    }
    return [stored](const std::shared_ptr<Exchange>& exchange) {
      exchange->reply(200, "application/json", stored->response);
    };
  };
}

}  // namespace kl
