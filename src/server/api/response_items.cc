#include "server/api/response_items.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "server/api/context.h"

namespace kl {
namespace {

OrderedJson text_part(const std::string& text, OrderedJson logprobs) {
  return {{"type", "output_text"},
          {"text", text},
          {"annotations", OrderedJson::array()},
          {"logprobs", std::move(logprobs)}};
}

OrderedJson message_item(const std::string& id, const char* status, OrderedJson content) {
  return {{"type", "message"}, {"id", id}, {"status", status}, {"role", "assistant"}, {"content", std::move(content)}};
}

/// The JSON array `text` with `value` at its end.
std::string appended(const std::string& text, OrderedJson value) {
  OrderedJson array = OrderedJson::parse(text);
  array.push_back(std::move(value));
  return to_text(array);
}

}  // namespace

void ResponseItems::add(const ToolCallDelta& delta, const std::string& logprobs) {
  switch (delta.kind) {
    case ToolCallDelta::Kind::kContent:
      if (open_ != Open::kMessage) open_message();
      text_ += delta.text;
      if (logprobs.size() > 2) {
        if (!logprobs_.empty()) logprobs_ += ',';
        logprobs_ += logprobs.substr(1, logprobs.size() - 2);
      }
      emit_({{"type", "response.output_text.delta"},
             {"item_id", id_},
             {"output_index", index_},
             {"content_index", 0},
             {"delta", delta.text},
             {"logprobs", OrderedJson::parse(logprobs)}});
      break;
    case ToolCallDelta::Kind::kCall:
      open_call(delta);
      break;
    case ToolCallDelta::Kind::kArguments:
      text_ += delta.text;
      emit_({{"type", "response.function_call_arguments.delta"},
             {"item_id", id_},
             {"output_index", index_},
             {"delta", delta.text}});
      break;
  }
}

void ResponseItems::open_message() {
  close("completed");
  open_ = Open::kMessage;
  id_ = new_id("msg_");
  emit_({{"type", "response.output_item.added"},
         {"output_index", index_},
         {"item", message_item(id_, "in_progress", OrderedJson::array())}});
  emit_({{"type", "response.content_part.added"},
         {"item_id", id_},
         {"output_index", index_},
         {"content_index", 0},
         {"part", text_part("", OrderedJson::array())}});
}

void ResponseItems::open_call(const ToolCallDelta& delta) {
  close("completed");
  open_ = Open::kCall;
  id_ = new_id("fc_");
  call_id_ = delta.id;
  name_ = delta.name;
  emit_({{"type", "response.output_item.added"},
         {"output_index", index_},
         {"item",
          {{"type", "function_call"},
           {"id", id_},
           {"call_id", call_id_},
           {"name", name_},
           {"arguments", ""},
           {"status", "in_progress"}}}});
}

void ResponseItems::close(const std::string& status) {
  if (open_ == Open::kMessage) close_message(status);
  if (open_ == Open::kCall) close_call(status);
  if (open_ != Open::kNothing) ++index_;
  open_ = Open::kNothing;
  text_.clear();
  logprobs_.clear();
}

void ResponseItems::close_message(const std::string& status) {
  const OrderedJson logprobs = OrderedJson::parse(fmt::format("[{}]", logprobs_));
  const OrderedJson part = text_part(text_, logprobs);
  emit_({{"type", "response.output_text.done"},
         {"item_id", id_},
         {"output_index", index_},
         {"content_index", 0},
         {"text", text_},
         {"logprobs", logprobs}});
  emit_({{"type", "response.content_part.done"},
         {"item_id", id_},
         {"output_index", index_},
         {"content_index", 0},
         {"part", part}});
  const OrderedJson item = message_item(id_, status.c_str(), OrderedJson::array({part}));
  emit_({{"type", "response.output_item.done"}, {"output_index", index_}, {"item", item}});
  output_ = appended(output_, item);
}

void ResponseItems::close_call(const std::string& status) {
  const std::string arguments = text_.empty() ? "{}" : text_;
  emit_({{"type", "response.function_call_arguments.done"},
         {"item_id", id_},
         {"output_index", index_},
         {"name", name_},
         {"arguments", arguments}});
  const OrderedJson item = {{"type", "function_call"}, {"id", id_},       {"call_id", call_id_}, {"name", name_},
                            {"arguments", arguments},  {"status", status}};
  emit_({{"type", "response.output_item.done"}, {"output_index", index_}, {"item", item}});
  output_ = appended(output_, item);
}

void ResponseItems::finish(const std::string& status) {
  if (open_ == Open::kNothing && output_ == "[]") open_message();  // an answer has an item, if only an empty one
  close(status);
}

}  // namespace kl
