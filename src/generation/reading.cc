#include "generation/reading.h"

namespace kl {
Reading::Reading(const Tokenizer& tokenizer, MlaForm of_model)
    : of_model_(of_model),
      message_end_(tokenizer.special_id("<|im_end|>")),
      answer_begin_(tokenizer.special_id("<|im_assistant|>")) {}

std::vector<ReadToken> Reading::prompt(std::span<const Token> tokens) const {
  std::vector<ReadToken> text;
  text.reserve(tokens.size());
  for (std::size_t first = 0; first < tokens.size();) {
    std::size_t end = first;
    while (end < tokens.size() && !ends_message(tokens[end])) ++end;
    end = std::min(end + 1, tokens.size());
    const bool expands = end - first >= kExpandFrom && tokens[first] != answer_begin_;
    const bool expanded = of_model_ == MlaForm::kAuto ? expands : of_model_ == MlaForm::kExpanded;
    for (; first < end; ++first) text.emplace_back(tokens[first], expanded);
  }
  return text;
}

std::int64_t same_form_until(std::span<const ReadToken> text, std::int64_t first) {
  std::int64_t end = first;
  while (end < std::ssize(text) &&
         text[static_cast<std::size_t>(end)].expanded() == text[static_cast<std::size_t>(first)].expanded())
    ++end;
  return end;
}

}  // namespace kl
