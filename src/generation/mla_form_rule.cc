#include "generation/mla_form_rule.h"

#include <algorithm>

namespace kl {

MlaFormRule::MlaFormRule(const Tokenizer& tokenizer, MlaForm of_model)
    : of_model_(of_model),
      message_end_(tokenizer.special_id("<|im_end|>")),
      answer_begin_(tokenizer.special_id("<|im_assistant|>")) {}

std::vector<ReadToken> MlaFormRule::prompt(std::span<const Token> tokens) const {
  std::vector<ReadToken> text;
  text.reserve(tokens.size());
  for (std::size_t first = 0; first < tokens.size();) {
    std::size_t end = first;
    while (end < tokens.size() && !ends_message(tokens[end])) ++end;
    end = std::min(end + 1, tokens.size());
    const bool expands = end - first >= kExpandFrom && tokens[first] != answer_begin_;
    const MlaForm by_text = expands ? MlaForm::kExpanded : MlaForm::kAbsorbed;
    for (; first < end; ++first) text.emplace_back(tokens[first], of_model_ == MlaForm::kAuto ? by_text : of_model_);
  }
  return text;
}

}  // namespace kl
