#include "cli/chat_session.h"

#include <algorithm>
#include <utility>

namespace kl::cli {

ChatSession::ChatSession(Engine& engine, ChatTemplate chat_template, GenerateOptions options, std::string system)
    : engine_(engine),
      template_(std::move(chat_template)),
      options_(std::move(options)),
      system_(std::move(system)),
      moment_{engine.model.make_cache(), {}, {}} {
  reset();
}

void ChatSession::reset() {
  moment_ = {engine_.model.make_cache(), {}, {}};
  before_answer_.reset();
  messages_.clear();
  if (!system_.empty()) messages_.push_back({"system", system_});
}

void ChatSession::set_system(std::string system) {
  system_ = std::move(system);
  reset();
}

/// The moment before the next answer: what the template makes of all messages, fed as far as it has been.
ChatSession::Moment ChatSession::with_prompt() const {
  const ChatInput input = chat_input(messages_);
  std::string text = template_.render(input);
  if (!text.starts_with(moment_.text)) {
    return {engine_.model.make_cache(), template_.render_ids(engine_.tokenizer, input), std::move(text)};
  }
  Moment next{moment_.state, moment_.pending, std::move(text)};
  const std::vector<Token> rest = template_.render_ids(engine_.tokenizer, input, moment_.text.size());
  next.pending.insert(next.pending.end(), rest.begin(), rest.end());
  return next;
}

GenerateResult ChatSession::ask(const std::string& message, const GenerateHooks& hooks) {
  messages_.push_back({"user", message});
  std::optional<Moment> next;
  try {
    next = with_prompt();
  } catch (...) {
    messages_.pop_back();
    throw;
  }
  Moment before = std::exchange(moment_, *next);
  std::optional<Moment> previous = std::exchange(before_answer_, std::move(next));
  GenerateResult result = answer(hooks);
  if (result.ids.empty()) {
    messages_.pop_back();
    moment_ = std::move(before);
    before_answer_ = std::move(previous);
  } else {
    messages_.push_back({"assistant", result.text});
  }
  return result;
}

GenerateResult ChatSession::regenerate(const GenerateHooks& hooks) {
  Moment after = std::exchange(moment_, *before_answer_);
  GenerateResult result = answer(hooks);
  if (result.ids.empty()) {
    moment_ = std::move(after);
  } else {
    messages_.back().content = result.text;
  }
  return result;
}

/// Feeds what is pending and draws an answer to it.
GenerateResult ChatSession::answer(const GenerateHooks& hooks) {
  GenerateOptions options = options_;
  options.sampling.seed += num_answers_;
  GenerateResult result = generate(engine_.model, engine_.tokenizer, moment_.state, moment_.pending, options, hooks);
  if (result.ids.empty()) return result;
  ++num_answers_;
  moment_.pending.clear();
  const std::span<const Token> stops = engine_.tokenizer.stop_tokens();
  if (std::count(stops.begin(), stops.end(), result.ids.back()) == 0) moment_.pending.push_back(result.ids.back());
  moment_.text += result.text;
  return result;
}

}  // namespace kl::cli
