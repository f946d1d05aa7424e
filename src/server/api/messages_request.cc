#include "server/api/messages_request.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "server/api/conversation.h"
#include "server/api/generate_options.h"

namespace kl {
namespace {

std::string required_text(const Fields& block, std::string_view name) {
  const std::optional<std::string> text = block.text(name);
  if (!text) block.refuse(name, "expected a string, got nothing");
  return *text;
}

Fields block_at(const OrderedJson& blocks, std::size_t i, const std::string& path, bool strict) {
  return Fields(blocks[i], Body::kAnthropicBlock, fmt::format("{}[{}]", path, i), strict);
}

/// A text, or text blocks put together.
std::string read_texts(const OrderedJson& content, const std::string& path, bool strict) {
  if (content.is_string()) return content.get<std::string>();
  std::string text;
  for (std::size_t i = 0; i < content.size(); ++i) {
    const Fields block = block_at(content, i, path, strict);
    if (block.text("type") != "text") block.refuse("type", "expected \"text\"");
    text += required_text(block, "text");
  }
  return text;
}

void read_tool_result(const Fields& block, Conversation& conversation) {
  const std::string id = required_text(block, "tool_use_id");
  const OrderedJson* content = block.find("content");
  conversation.add_result(id, "", content ? read_texts(*content, block.path_of("content"), block.is_strict()) : "");
}

void read_call(const Fields& block, Conversation& conversation) {
  const OrderedJson* input = block.find("input");
  if (!input) block.refuse("input", "expected an object, got nothing");
  const std::string id = required_text(block, "id");
  conversation.add_call(id, required_text(block, "name"), to_text(*input));
}

/// One message may hold texts, calls and results; each result becomes a message of its own.
void read_message(const Fields& message, Conversation& conversation) {
  const std::string role = *message.text("role");
  const OrderedJson& content = *message.find("content");
  if (content.is_string()) return conversation.add_text(role, content.get<std::string>());
  std::string text;
  bool has_text = false;
  std::vector<Fields> calls;
  for (std::size_t i = 0; i < content.size(); ++i) {
    const Fields block = block_at(content, i, message.path_of("content"), message.is_strict());
    const std::string type = *block.text("type");
    if (type == "text") {
      text += required_text(block, "text");
      has_text = true;
    } else if (type == "tool_use") {
      if (role != "assistant") block.refuse("type", "expected it in an assistant's message");
      calls.push_back(block);
    } else if (type == "tool_result") {
      if (role != "user") block.refuse("type", "expected it in a user's message");
      if (std::exchange(has_text, false)) conversation.add_text(role, std::exchange(text, {}));
      read_tool_result(block, conversation);
    }
  }
  if (has_text || !calls.empty()) conversation.add_text(role, text);
  for (const Fields& call : calls) read_call(call, conversation);
}

}  // namespace

std::vector<Token> read_messages_prompt(const ApiContext& context, const Fields& body, const Tools& tools) {
  Conversation conversation;
  if (const OrderedJson* system = body.find("system")) {
    conversation.add_text("system", read_texts(*system, "system", body.is_strict()));
  }
  const OrderedJson& messages = *body.find("messages");
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Fields message(messages[i], Body::kAnthropicMessage, fmt::format("messages[{}]", i), body.is_strict());
    read_message(message, conversation);
  }
  return make_chat_prompt(context, conversation, tools, {.continue_last = conversation.ends_with_text()});
}

MessagesRequest read_messages_request(const ApiContext& context, const Fields& body) {
  check_model_name(context, body.text("model").value_or(""));
  MessagesRequest request;
  request.engine = read_engine_request(context, body);
  request.stream = *body.boolean("stream");
  const Tools tools = read_anthropic_tools(body);
  apply_tools(context, body, tools, request.engine);
  request.calls_tools = tools.may_call();
  if (request.calls_tools) request.stop = std::exchange(request.engine.options.stop, {});
  set_prompt(context, request.engine, read_messages_prompt(context, body, tools), body.integer("max_tokens"),
             "messages");
  return request;
}

}  // namespace kl
