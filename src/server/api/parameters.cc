#include "server/api/parameters.h"

#include <array>

namespace kl {

std::string_view name_of(Body body) {
  static constexpr std::array<std::string_view, kNumBodies> kNames = {
      "ChatRequest",        "CompletionRequest",  "ResponseRequest", "MessagesRequest",
      "CountTokensRequest", "LlamaCompletion",    "TokenizeRequest", "DetokenizeRequest",
      "ApplyTemplate",      "SlotFile",           "StreamOptions",   "ChatMessage",
      "TextPart",           "ToolCall",           "CalledFunction",  "Tool",
      "Function",           "ToolChoice",         "ChosenFunction",  "ResponseFormat",
      "JsonSchema",         "PromptObject",       "ResponseItem",    "ResponsePart",
      "ResponseTool",       "ResponseToolChoice", "ResponseText",    "ResponseTextFormat",
      "AnthropicMessage",   "AnthropicBlock",     "AnthropicTool",   "AnthropicToolChoice",
  };
  return kNames[static_cast<std::size_t>(body)];
}

const Parameter* find_parameter(Body body, std::string_view name) {
  for (const Parameter& parameter : parameters()) {
    if (parameter.name == name && contains(parameter.in, body)) return &parameter;
  }
  return nullptr;
}

}  // namespace kl
