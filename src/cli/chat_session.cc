#include "cli/chat_session.h"

#include <algorithm>
#include <utility>

namespace kl::cli {

ChatSession::ChatSession(Engine& engine, GenerateOptions options, std::string system)
    : engine_(engine), format_(engine.tokenizer), options_(std::move(options)), system_(std::move(system)) {
  reset();
}

void ChatSession::reset() {
  state_ = engine_.model.make_cache();
  before_answer_.reset();
  messages_.clear();
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

/// Feeds what is unread and draws an answer to it.
GenerateResult ChatSession::answer(const GenerateHooks& hooks) {
  GenerateOptions options = options_;
  options.sampling.seed += num_answers_;
  GenerateResult result = generate(engine_.model, engine_.tokenizer, state_, unread_, options, hooks);
  if (result.ids.empty()) return result;
  ++num_answers_;
  unread_.clear();
  const std::span<const Token> stops = engine_.tokenizer.stop_tokens();
  if (std::count(stops.begin(), stops.end(), result.ids.back()) == 0) unread_.push_back(result.ids.back());
  unread_.push_back(engine_.tokenizer.special_id("<|im_end|>"));
  return result;
}

}  // namespace kl::cli
