#include "server/api/response_request.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "base/printable.h"
#include "server/api/generate_options.h"
#include "server/api/response_store.h"
#include "server/api/tools.h"
#include "server/exchange/api_error.h"

namespace kl {
namespace {

std::string required_text(const Fields& item, std::string_view name) {
  const std::optional<std::string> text = item.text(name);
  if (!text) item.refuse(name, "expected a string, got nothing");
  return *text;
}

std::string required_parts(const Fields& item, std::string_view name) {
  const OrderedJson* content = item.find(name);
  if (!content) item.refuse(name, "expected a string or an array, got nothing");
  return join_parts(*content, Body::kResponsePart, item.path_of(name), item.is_strict());
}

void read_item(const Fields& item, Conversation& conversation) {
  const std::string type = *item.text("type");
  if (type == "function_call") {
    const std::string id = required_text(item, "call_id"), name = required_text(item, "name");
    conversation.add_call(id, name, required_text(item, "arguments"));
  } else if (type == "function_call_output") {
    const std::string id = required_text(item, "call_id");
    conversation.add_result(id, "", required_parts(item, "output"));
  } else if (type == "message") {
    const std::string role = required_text(item, "role");
    conversation.add_text(role == "developer" ? "system" : role, required_parts(item, "content"));
  }
}

Conversation read_conversation(const ApiContext& context, const Fields& body) {
  Conversation conversation;
  if (const auto id = body.text("previous_response_id")) {
    const auto previous = context.responses->find(*id);
    if (!previous) {
      throw ApiError{
          .status = 404,
          .message = fmt::format("previous_response_id: \"{}\" was never stored, or is forgotten", printable(*id)),
          .param = "previous_response_id",
          .code = "previous_response_not_found"};
    }
    conversation = Conversation(previous->conversation);
  }
  const OrderedJson& input = *body.find("input");
  if (input.is_string()) {
    conversation.add_text("user", input.get<std::string>());
    return conversation;
  }
  for (std::size_t i = 0; i < input.size(); ++i) {
    read_item(Fields(input[i], Body::kResponseItem, fmt::format("input[{}]", i), body.is_strict()), conversation);
  }
  return conversation;
}

OrderedJson or_else(const OrderedJson* value, OrderedJson fallback) { return value ? *value : std::move(fallback); }

/// Members of a response that say what was asked for.
OrderedJson echo(const Fields& body, const SamplingParams& sampling) {
  const OrderedJson text_format = {{"format", {{"type", "text"}}}};
  return {{"instructions", or_else(body.find("instructions"), nullptr)},
          {"max_output_tokens", or_else(body.find("max_output_tokens"), nullptr)},
          {"max_tool_calls", nullptr},
          {"previous_response_id", or_else(body.find("previous_response_id"), nullptr)},
          {"tools", or_else(body.find("tools"), OrderedJson::array())},
          {"tool_choice", or_else(body.find("tool_choice"), "auto")},
          {"parallel_tool_calls", *body.boolean("parallel_tool_calls")},
          {"text", or_else(body.find("text"), text_format)},
          {"truncation", *body.text("truncation")},
          {"temperature", sampling.temperature},
          {"top_p", sampling.top_p},
          {"presence_penalty", sampling.presence_penalty},
          {"frequency_penalty", sampling.frequency_penalty},
          {"top_logprobs", *body.integer("top_logprobs")},
          {"reasoning", or_else(body.find("reasoning"), nullptr)},
          {"metadata", or_else(body.find("metadata"), OrderedJson::object())},
          {"user", or_else(body.find("user"), nullptr)},
          {"store", *body.boolean("store")},
          {"background", false},
          {"service_tier", "default"},
          {"safety_identifier", nullptr},
          {"prompt_cache_key", nullptr}};
}

}  // namespace

ResponseRequest read_response_request(const ApiContext& context, const Fields& body) {
  check_model_name(context, body.text("model").value_or(""));
  ResponseRequest request;
  request.engine = read_engine_request(context, body);
  request.stream = *body.boolean("stream");
  request.store = *body.boolean("store");
  request.timings_per_token = *body.boolean("timings_per_token");
  request.return_progress = *body.boolean("return_progress");
  if (const auto top = static_cast<int>(*body.integer("top_logprobs")); top > 0) {
    request.logprobs = true;
    request.engine.options.sampling.logprobs = top;
  }
  const Tools tools = read_response_tools(body);
  request.conversation = read_conversation(context, body);
  apply_tools(context, body, tools, request.engine);
  request.calls_tools = tools.may_call();
  if (request.calls_tools) request.stop = std::exchange(request.engine.options.stop, {});
  request.echoed = to_text(echo(body, request.engine.options.sampling));

  Conversation whole = request.conversation;
  if (const auto instructions = body.text("instructions")) whole.prepend_system(*instructions);
  set_prompt(context, request.engine, make_chat_prompt(context, whole, tools, {}), body.integer("max_output_tokens"),
             "input");
  return request;
}

}  // namespace kl
