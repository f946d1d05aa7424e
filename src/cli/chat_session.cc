#include "cli/chat_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "kl/error.h"

namespace kl::cli {

ChatSession::ChatSession(Engine& engine, GenerateOptions options, std::string system, std::int64_t ctx_size)
    : engine_(engine),
      format_(engine.tokenizer),
      options_(std::move(options)),
      system_(std::move(system)),
      ctx_size_(ctx_size) {
  reset();
}

void ChatSession::reset() {
  state_ = engine_.model.make_cache();
  before_answer_.reset();
  messages_.clear();
  read_.clear();
  expanded_.clear();
  unread_.clear();
  if (system_.empty()) return;
  messages_.push_back({"system", system_, ""});
  unread_ = format_.render_ids(messages_, /*add_generation_prompt=*/false);
}

void ChatSession::set_system(std::string system) {
  system_ = std::move(system);
  reset();
}

GenerateResult ChatSession::ask(const std::string& message, const GenerateHooks& hooks) {
  const std::vector<Token> unread_before = unread_;
  const Message turn{"user", message, ""};
  const std::vector<Token> turn_ids = format_.render_ids({&turn, 1}, /*add_generation_prompt=*/true);
  if (room() <= std::ssize(turn_ids)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("message: expected at most {} tokens, what the context of {} (-c) has room for, got {}",
                            std::max<std::int64_t>(room() - 1, 0), ctx_size_, turn_ids.size()));
  }
  unread_.insert(unread_.end(), turn_ids.begin(), turn_ids.end());
  std::optional<Snapshot> previous = std::exchange(before_answer_, Snapshot{state_, unread_});
  messages_.push_back(turn);

  GenerateResult result = answer(hooks);
  if (result.ids.empty()) {
    messages_.pop_back();
    state_ = before_answer_->state;
    unread_ = unread_before;
    before_answer_ = std::move(previous);
  } else {
    messages_.push_back({"assistant", result.text, ""});
  }
  return result;
}

GenerateResult ChatSession::regenerate(const GenerateHooks& hooks) {
  SequenceState state_after = std::exchange(state_, before_answer_->state);
  std::vector<Token> unread_after = std::exchange(unread_, before_answer_->prompt);
  GenerateResult result = answer(hooks);
  if (result.ids.empty()) {
    state_ = std::move(state_after);
    unread_ = std::move(unread_after);
  } else {
    messages_.back().content = result.text;
  }
  return result;
}

/// Adds tokens that the state has read, and the form of MLA it read them in.
void ChatSession::note_read(std::span<const Token> tokens, std::span<const std::uint8_t> expanded) {
  expanded_.resize(read_.size());
  read_.insert(read_.end(), tokens.begin(), tokens.end());
  expanded_.insert(expanded_.end(), expanded.begin(), expanded.end());
}

/// Feeds what is unread and draws an answer to it.
GenerateResult ChatSession::answer(const GenerateHooks& hooks) {
  GenerateOptions options = options_;
  options.sampling.seed += num_answers_;
  options.max_tokens = std::min(options.max_tokens, room());
  const auto before = static_cast<std::size_t>(num_tokens());
  GenerateResult result = generate(engine_.model, engine_.tokenizer, state_, unread_, options, hooks);
  if (result.ids.empty()) return result;
  ++num_answers_;
  read_.resize(before);  // an answer that was drawn anew
  note_read(unread_, forms_of_prompt(engine_.model, engine_.tokenizer, unread_));
  const std::vector<std::uint8_t> drawn_forms(result.ids.size() - 1,
                                              engine_.model.options().mla_form == MlaForm::kExpanded ? 1 : 0);
  note_read(std::span(result.ids).first(drawn_forms.size()), drawn_forms);
  unread_.clear();
  const std::span<const Token> stops = engine_.tokenizer.stop_tokens();
  if (std::count(stops.begin(), stops.end(), result.ids.back()) == 0) unread_.push_back(result.ids.back());
  unread_.push_back(engine_.tokenizer.special_id("<|im_end|>"));
  return result;
}

}  // namespace kl::cli
