#include "server/api/route_table.h"

#include "server/api/endpoints.h"

namespace kl {
namespace {

constexpr auto kO = ErrorSchema::kOpenAi;
constexpr auto kA = ErrorSchema::kAnthropic;
constexpr bool kLong = true, kShort = false;

const RouteRow kRoutes[] = {
    {"POST", "/v1/chat/completions", "/chat/completions", chat_handler, Body::kChat, kLong, "ChatCompletion",
     "ChatCompletionChunk", kO, "Answer a conversation."},
    {"POST", "/v1/completions", nullptr, completion_handler, Body::kCompletion, kLong, "TextCompletion",
     "TextCompletion", kO, "Continue texts."},
    {"POST", "/v1/responses", "/responses", response_handler, Body::kResponse, kLong, "Response", "ResponseEvent", kO,
     "Answer items."},
    {"GET", "/v1/responses/{id}", nullptr, stored_response_handler, std::nullopt, kShort, "Response", nullptr, kO,
     "A stored response."},
    {"POST", "/v1/messages", nullptr, messages_handler, Body::kMessages, kLong, "AnthropicReply", "AnthropicEvent", kA,
     "Answer a conversation, in Anthropic's form."},
    {"POST", "/v1/messages/count_tokens", nullptr, count_tokens_handler, Body::kCountTokens, kLong, "TokenCount",
     nullptr, kA, "Tokens of a conversation, in Anthropic's form."},
    {"GET", "/v1/models", "/models", models_handler, std::nullopt, kShort, "ModelList", nullptr, kO, "The model."},
    {"GET", "/v1/models/{id...}", nullptr, model_handler, std::nullopt, kShort, "Model", nullptr, kO,
     "The model, by its name."},
    {"POST", "/completion", "/completions", llama_completion_handler, Body::kLlamaCompletion, kLong, "LlamaReply",
     "LlamaChunk", kO, "Continue texts, in llama.cpp's form."},
    {"POST", "/tokenize", nullptr, tokenize_handler, Body::kTokenize, kLong, "TokenList", nullptr, kO,
     "Text to tokens."},
    {"POST", "/detokenize", nullptr, detokenize_handler, Body::kDetokenize, kLong, "Text", nullptr, kO,
     "Tokens to text."},
    {"POST", "/apply-template", nullptr, apply_template_handler, Body::kApplyTemplate, kLong, "RenderedPrompt", nullptr,
     kO, "A conversation as the model sees it."},
    {"GET", "/props", nullptr, props_handler, std::nullopt, kShort, "Props", nullptr, kO,
     "What the server is and defaults to."},
    {"GET", "/slots", nullptr, slots_handler, std::nullopt, kShort, "SlotList", nullptr, kO, "What the slots do."},
    {"POST", "/slots/{id}", nullptr, slot_action_handler, Body::kSlotFile, kShort, "SlotReply", nullptr, kO,
     "Save, restore or erase what a slot remembers: ?action=save, restore, erase."},
};

}  // namespace

std::span<const RouteRow> route_table() { return kRoutes; }

}  // namespace kl
