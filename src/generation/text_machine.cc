#include "generation/text_machine.h"

#include <algorithm>

namespace kl {

TextMachine::TextMachine(const Tokenizer& tokenizer, const MlaFormRule& form, const GenerateOptions& options,
                         std::span<const Token> prompt, SequenceState& state, const Setting& setting)
    : state_(state),
      before_(state.num_tokens()),
      prompt_tokens_(std::ssize(prompt)),
      ctx_size_(setting.ctx_size),
      drawn_form_(form.drawn()),
      tokens_(form.prompt(prompt)),
      continuation_(tokenizer, options, prompt, setting.isa) {
  if (setting.max_draft > 0) speculation_.emplace(setting.max_draft).append(prompt);
}

std::int64_t TextMachine::stretch(std::int64_t most) const {
  const auto next = std::span(tokens_).subspan(static_cast<std::size_t>(fed()));
  const auto some = next.first(std::min(next.size(), static_cast<std::size_t>(most)));
  return std::find_if(some.begin(), some.end(), [&](ReadToken t) { return t.form() != some[0].form(); }) - some.begin();
}

void TextMachine::read_on(std::int64_t count) {
  pass_first_ = fed();
  draft_ = 0;
  pass_.clear();
  for (const ReadToken t :
       std::span(tokens_).subspan(static_cast<std::size_t>(pass_first_), static_cast<std::size_t>(count)))
    pass_.push_back(t.token());
}

void TextMachine::write_on(const PassCost& cost, int rows) {
  read_on(1);
  if (!speculation_) return;
  const std::int64_t wanted = continuation_.options().max_tokens - std::ssize(continuation_.ids());
  const std::int64_t room = std::max<std::int64_t>(std::min(wanted, ctx_size_ - length()) - 1, 0);
  const std::span<const Token> draft = speculation_->propose(cost, room, rows);
  pass_.insert(pass_.end(), draft.begin(), draft.end());
  draft_ = std::ssize(draft);
}

SequenceInput TextMachine::input(bool all_logits) const {
  const bool reaches_end = pass_first_ + pass_size() == length();
  return {.state = &state_,
          .tokens = pass_,
          .want = all_logits || draft_ > 0 ? WantLogits::kAll
                  : reaches_end            ? WantLogits::kLast
                                           : WantLogits::kNone,
          .form = tokens_[static_cast<std::size_t>(pass_first_)].form(),
          .tentative = draft_};
}

bool TextMachine::draws_from(std::int64_t index) const {
  return !finished() && pass_first_ + index + 1 == length() &&
         pass_[static_cast<std::size_t>(index)] == tokens_.back().token();
}

TokenCounts TextMachine::counts() const {
  return {.prompt = prompt_tokens_,
          .cached = 0,
          .generated = std::ssize(continuation_.ids()),
          .drafted = speculation_ ? speculation_->drafted_tokens() : 0,
          .accepted = speculation_ ? speculation_->accepted_tokens() : 0};
}

std::string TextMachine::draw(std::span<const float> logits) {
  if (continuation_.ids().empty()) written_since_ = Clock::now();
  std::string certain = continuation_.accept(logits);
  if (continuation_.ids().empty()) return certain;
  tokens_.emplace_back(continuation_.ids().back(), drawn_form_);
  if (length() >= ctx_size_) certain += finish(FinishReason::kLength);
  return certain;
}

std::int64_t TextMachine::end_pass() {
  const std::span<const Token> drawn = std::span(continuation_.ids()).subspan(drawn_before_);
  if (drawn.empty()) return 0;
  state_.keep(std::min(state_.num_tentative(), std::ssize(drawn) - 1));
  if (speculation_) speculation_->judge(drawn);
  drawn_before_ += drawn.size();
  return std::ssize(drawn);
}

}  // namespace kl
