#include "kl/chat.h"

#include <fmt/format.h>

#include "kl/error.h"

namespace kl {
namespace {

constexpr std::string_view kUser = "<|im_user|>";
constexpr std::string_view kAssistant = "<|im_assistant|>";
constexpr std::string_view kSystem = "<|im_system|>";
constexpr std::string_view kMiddle = "<|im_middle|>";
constexpr std::string_view kEnd = "<|im_end|>";

std::string_view marker_of(std::string_view role) {
  if (role == "user") return kUser;
  if (role == "assistant") return kAssistant;
  return kSystem;
}

/// Walks a conversation, handing control tokens to `control` and what people wrote to `ordinary`, in order.
template <class Control, class Ordinary>
void visit(std::span<const Message> messages, bool add_generation_prompt, Control control, Ordinary ordinary) {
  for (const Message& message : messages) {
    control(marker_of(message.role));
    ordinary(message.name.empty() ? message.role : message.name);
    control(kMiddle);
    ordinary(message.content);
    control(kEnd);
  }
  if (add_generation_prompt) {
    control(kAssistant);
    ordinary("assistant");
    control(kMiddle);
  }
}

}  // namespace

ChatFormat::ChatFormat(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {
  std::vector<std::string_view> missing;
  for (const std::string_view name : {kUser, kAssistant, kSystem, kMiddle, kEnd}) {
    if (tokenizer.special_id(name) < 0) missing.push_back(name);
  }
  if (missing.empty()) return;
  throw Error(ErrorCode::kUnsupported,
              fmt::format("chat format: expected a vocabulary with the control tokens of the Kimi chat format, "
                          "got one without {}",
                          fmt::join(missing, " ")));
}

std::string ChatFormat::render(std::span<const Message> messages, bool add_generation_prompt) {
  std::string text;
  const auto append = [&](std::string_view part) { text += part; };
  visit(messages, add_generation_prompt, append, append);
  return text;
}

std::vector<Token> ChatFormat::render_ids(std::span<const Message> messages, bool add_generation_prompt) const {
  std::vector<Token> ids;
  visit(
      messages, add_generation_prompt, [&](std::string_view name) { ids.push_back(tokenizer_->special_id(name)); },
      [&](std::string_view text) {
        const std::vector<Token> part = tokenizer_->encode(text);
        ids.insert(ids.end(), part.begin(), part.end());
      });
  return ids;
}

}  // namespace kl
