#include "server/api/conversation.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "server/exchange/api_error.h"

namespace kl {
namespace {

constexpr std::size_t kMaxVariableBytes = 64u << 10;

/// "functions.NAME:3"?
bool is_model_id(const std::string& id, const std::string& name) {
  const std::string start = "functions." + name + ":";
  return id.starts_with(start) && id.size() > start.size() && id.size() < start.size() + 10 &&
         std::all_of(id.begin() + static_cast<std::ptrdiff_t>(start.size()), id.end(),
                     [](unsigned char c) { return std::isdigit(c) != 0; });
}

ChatInput to_input(const Conversation& conversation, const Tools& tools, const ChatPromptOptions& options) {
  return {.messages = conversation.json(),
          .tools = tools.json,
          .add_generation_prompt = options.add_generation_prompt && !options.continue_last,
          .variables = options.variables};
}

/// A template that refuses a conversation is the client's business.
template <class Render>
auto rendered(const Render& render) {
  try {
    return render();
  } catch (const Error& error) {
    ApiError refusal = to_api_error(error);
    if (refusal.status == 400) refusal.param = "messages";
    throw refusal;
  }
}

void read_calls(const Fields& message, Conversation& conversation) {
  const OrderedJson* calls = message.find("tool_calls");
  for (std::size_t i = 0; calls && i < calls->size(); ++i) {
    const Fields call((*calls)[i], Body::kToolCall, fmt::format("{}[{}]", message.path_of("tool_calls"), i),
                      message.is_strict());
    const Fields function = *call.object("function", Body::kCalledFunction);
    const OrderedJson& arguments = *function.find("arguments");
    conversation.add_call(call.text("id").value_or(""), *function.text("name"),
                          arguments.is_string() ? arguments.get<std::string>() : to_text(arguments));
  }
}

void read_message(const Fields& message, Conversation& conversation) {
  const std::string role = *message.text("role");
  const OrderedJson* content = message.find("content");
  const OrderedJson* calls = message.find("tool_calls");
  if (calls && role != "assistant") message.refuse("tool_calls", "expected them in an assistant's message only");
  if (!content && !(calls && !calls->empty())) message.refuse("content", "expected a string or an array, got nothing");
  const std::string text =
      content ? join_parts(*content, Body::kTextPart, message.path_of("content"), message.is_strict()) : std::string();
  const std::string name = message.text("name").value_or("");
  if (role == "tool") {
    const std::optional<std::string> id = message.text("tool_call_id");
    if (!id) message.refuse("tool_call_id", "expected a string, got nothing");
    return conversation.add_result(*id, name, text);
  }
  conversation.add_text(role == "developer" ? "system" : role, text, name);
  if (const auto reasoning = message.text("reasoning_content")) conversation.set_extra("reasoning_content", *reasoning);
  read_calls(message, conversation);
}

}  // namespace

struct Conversation::Impl {
  OrderedJson messages = OrderedJson::array();
  std::map<std::string, std::string> ids;  // a client's id of a call -> the model's
  int calls = 0;
};

Conversation::Conversation() : impl_(std::make_unique<Impl>()) {}
Conversation::~Conversation() = default;
Conversation::Conversation(Conversation&&) noexcept = default;
Conversation::Conversation(const Conversation& other) : impl_(std::make_unique<Impl>(*other.impl_)) {}

Conversation& Conversation::operator=(Conversation other) noexcept {
  impl_.swap(other.impl_);
  return *this;
}

void Conversation::add_text(const std::string& role, const std::string& content, const std::string& name) {
  OrderedJson message = {{"role", role}, {"content", content}};
  if (!name.empty()) message["name"] = name;
  impl_->messages.push_back(std::move(message));
}

void Conversation::add_call(const std::string& id, const std::string& name, const std::string& arguments) {
  const int index = impl_->calls++;
  const std::string known = is_model_id(id, name) ? id : fmt::format("functions.{}:{}", name, index);
  impl_->ids[id] = known;
  if (!ends_with_assistant()) add_text("assistant", "");
  impl_->messages.back()["tool_calls"].push_back(
      {{"id", known}, {"type", "function"}, {"function", {{"name", name}, {"arguments", arguments}}}});
}

void Conversation::add_result(const std::string& id, const std::string& name, const std::string& content) {
  const auto known = impl_->ids.find(id);
  OrderedJson message = {
      {"role", "tool"}, {"content", content}, {"tool_call_id", known == impl_->ids.end() ? id : known->second}};
  if (!name.empty()) message["name"] = name;
  impl_->messages.push_back(std::move(message));
}

void Conversation::set_extra(const std::string& member, const std::string& text) {
  impl_->messages.back()[member] = text;
}

void Conversation::prepend_system(const std::string& content) {
  const OrderedJson message = {{"role", "system"}, {"content", content}};
  impl_->messages.insert(impl_->messages.begin(), message);
}

std::string Conversation::json() const { return to_text(impl_->messages); }

bool Conversation::ends_with_assistant() const {
  return !impl_->messages.empty() && impl_->messages.back()["role"] == "assistant";
}

bool Conversation::ends_with_text() const {
  return ends_with_assistant() && !impl_->messages.back().contains("tool_calls");
}

Conversation read_chat_messages(const Fields& body) {
  Conversation conversation;
  const OrderedJson& messages = *body.find("messages");
  for (std::size_t i = 0; i < messages.size(); ++i) {
    read_message(Fields(messages[i], Body::kChatMessage, fmt::format("messages[{}]", i), body.is_strict()),
                 conversation);
  }
  return conversation;
}

std::vector<Token> make_chat_prompt(const ApiContext& context, const Conversation& conversation, const Tools& tools,
                                    const ChatPromptOptions& options) {
  const Tokenizer& tokenizer = *context.tokenizer;
  std::vector<Token> ids =
      rendered([&] { return context.chat_template->render_ids(tokenizer, to_input(conversation, tools, options)); });
  if (options.continue_last) {
    // The last message goes on: take back the marks that ended it.
    const auto stops = tokenizer.stop_tokens();
    while (!ids.empty() && std::find(stops.begin(), stops.end(), ids.back()) != stops.end()) ids.pop_back();
  }
  return ids;
}

std::string render_chat(const ApiContext& context, const Conversation& conversation, const Tools& tools,
                        const ChatPromptOptions& options) {
  return rendered([&] { return context.chat_template->render(to_input(conversation, tools, options)); });
}

ChatPromptOptions read_prompt_options(const Fields& body) {
  ChatPromptOptions options;
  options.add_generation_prompt = *body.boolean("add_generation_prompt");
  const OrderedJson* variables = body.find("chat_template_kwargs");
  if (!variables) return options;
  for (const char* reserved : {"messages", "tools", "add_generation_prompt"}) {
    if (variables->contains(reserved))
      refuse_field(fmt::format("chat_template_kwargs.{}", reserved), "expected it outside");
  }
  options.variables = to_text(*variables);
  if (options.variables.size() > kMaxVariableBytes) {
    body.refuse("chat_template_kwargs", fmt::format("expected at most {} bytes of JSON", kMaxVariableBytes));
  }
  return options;
}

std::string join_parts(const OrderedJson& content, Body body, const std::string& path, bool strict) {
  if (content.is_string()) return content.get<std::string>();
  std::string text;
  for (std::size_t i = 0; i < content.size(); ++i) {
    const Fields part(content[i], body, fmt::format("{}[{}]", path, i), strict);
    const bool is_refusal = part.knows("refusal") && part.text("type") == "refusal";
    const char* member = is_refusal ? "refusal" : "text";
    const std::optional<std::string> piece = part.text(member);
    if (!piece) part.refuse(member, "expected a string, got nothing");
    text += *piece;
  }
  return text;
}

}  // namespace kl
