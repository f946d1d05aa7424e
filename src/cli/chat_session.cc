#include "cli/chat_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "kl/error.h"

namespace kl::cli {

ChatSession::ChatSession(LoadedModel& loaded, ChatTemplate chat_template, GenerateOptions options, int max_draft,
                         std::string system, std::int64_t ctx_size)
    : loaded_(loaded),
      template_(std::move(chat_template)),
      options_(std::move(options)),
      max_draft_(max_draft),
      system_(std::move(system)),
      ctx_size_(ctx_size),
      moment_(nothing_read()) {
  reset();
}

void ChatSession::reset() {
  moment_ = nothing_read();
  before_answer_.reset();
  messages_.clear();
  if (!system_.empty()) messages_.push_back({"system", system_});
}

void ChatSession::set_system(std::string system) {
  system_ = std::move(system);
  reset();
}

/// The moment before the next answer: what the template makes of all messages, fed as far as it has been.
/// Throws what the template throws, and Error(kInvalidArgument) if the context has no room for it.
ChatSession::Moment ChatSession::with_prompt() const {
  const ChatInput input = chat_input(messages_);
  std::string text = template_.render(input);
  const bool goes_on = text.starts_with(moment_.text);
  Moment next = goes_on ? moment_ : nothing_read();
  const std::vector<Token> rest = template_.render_ids(loaded_.tokenizer, input, next.text.size());
  if (room(next) <= std::ssize(rest)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("message: expected at most {} tokens, what the context of {} (-c) has room for, got {}",
                            std::max<std::int64_t>(room(next) - 1, 0), ctx_size_, rest.size()));
  }
  next.pending.insert(next.pending.end(), rest.begin(), rest.end());
  next.text = std::move(text);
  return next;
}

GenerateResult ChatSession::ask(const std::string& message, const GenerateHooks& hooks) {
  messages_.push_back({"user", message});
  try {
    Moment asked = with_prompt(), answered = asked;
    GenerateResult result = answer(answered, hooks);
    if (result.ids.empty()) {
      messages_.pop_back();
    } else {
      messages_.push_back({"assistant", result.text});
      moment_ = std::move(answered);
      before_answer_ = std::move(asked);
    }
    return result;
  } catch (...) {
    messages_.pop_back();
    throw;
  }
}

GenerateResult ChatSession::regenerate(const GenerateHooks& hooks) {
  Moment answered = *before_answer_;
  GenerateResult result = answer(answered, hooks);
  if (!result.ids.empty()) {
    messages_.back().content = result.text;
    moment_ = std::move(answered);
  }
  return result;
}

/// Feeds what is pending and draws an answer to it; `m` is then the moment behind that.
/// Throws Error(kInvalidArgument) if the context has no room for it, and what generate() throws.
GenerateResult ChatSession::answer(Moment& m, const GenerateHooks& hooks) {
  if (room(m) <= 0) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("answer: expected room in the context of {} (-c), got none", ctx_size_));
  }
  GenerateOptions options = options_;
  options.sampling.seed += num_answers_;
  options.max_tokens = std::min(options.max_tokens, room(m));
  GenerateResult result = generate(loaded_.model, loaded_.tokenizer, m.state, m.pending, options, hooks, max_draft_);
  if (result.ids.empty()) return result;
  ++num_answers_;
  m.read.insert(m.read.end(), result.read.begin(), result.read.end());
  m.pending.clear();
  const std::span<const Token> stops = loaded_.tokenizer.stop_tokens();
  if (std::count(stops.begin(), stops.end(), result.ids.back()) == 0) m.pending.push_back(result.ids.back());
  m.text += result.text;
  return result;
}

}  // namespace kl::cli
