#include "kl/generate.h"

#include <algorithm>
#include <chrono>

#include "generation/reading.h"
#include "generation/speculation.h"
#include "kl/error.h"

namespace kl {
namespace {

/// Length of the longest end of `text` that begins one of `stops` without being one.
std::size_t possible_stop_length(std::string_view text, std::span<const std::string> stops) {
  std::size_t longest = 0;
  for (const std::string_view stop : stops) {
    for (std::size_t n = std::min(text.size(), stop.size() - 1); n > longest; --n) {
      if (text.substr(text.size() - n) == stop.substr(0, n)) longest = n;
    }
  }
  return longest;
}

/// Keeps the logits of a call, reports progress on the prompt, and passes on the wish to stop.
class StepObserver : public ForwardObserver {
 public:
  explicit StepObserver(const GenerateHooks& hooks) : hooks_(hooks) {}

  bool cancelled() const { return hooks_.cancel != nullptr && hooks_.cancel->load(std::memory_order_relaxed); }

  void forget_logits() { logits_.clear(); }
  std::size_t num_rows() const { return logits_.size() / vocab_; }
  std::span<const float> row(std::size_t i) const { return std::span(logits_).subspan(i * vocab_, vocab_); }

  void on_logits(int, std::int64_t, std::span<const float> logits) override {
    vocab_ = logits.size();
    logits_.insert(logits_.end(), logits.begin(), logits.end());
  }
  bool on_progress(std::int64_t done, std::int64_t) override {
    if (prompt_done_ < prompt_tokens_ && hooks_.on_prompt) hooks_.on_prompt(prompt_done_ + done, prompt_tokens_);
    return !cancelled();
  }

  /// The next call feeds a prompt of `tokens` tokens, of which the first `done` were fed.
  void reads_prompt(std::int64_t done, std::int64_t tokens) {
    prompt_done_ = done;
    prompt_tokens_ = tokens;
  }

 private:
  const GenerateHooks& hooks_;
  std::int64_t prompt_done_ = 0, prompt_tokens_ = 0;
  std::size_t vocab_ = 1;
  std::vector<float> logits_;  // [num_rows, vocab]
};

/// Throws Error(kInvalidArgument) for an option that makes no sense.
void validate(const GenerateOptions& options) {
  if (options.max_tokens < 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "max_tokens: expected a count of at least 0, got " + std::to_string(options.max_tokens));
  }
  for (const std::string& stop : options.stop) {
    if (stop.empty()) throw Error(ErrorCode::kInvalidArgument, "stop: expected a text, got an empty one");
  }
}

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// One generate() call at work.
class Decoding {
 public:
  Decoding(Model& model, const Tokenizer& tokenizer, SequenceState& state, std::span<const Token> prompt,
           const GenerateOptions& options, const GenerateHooks& hooks, int max_draft)
      : model_(model),
        tokenizer_(tokenizer),
        state_(state),
        options_(options),
        hooks_(hooks),
        continuation_(tokenizer, options, prompt),
        observer_(hooks) {
    if (max_draft > 0) speculation_.emplace(max_draft).append(prompt);
  }

  bool read(std::span<const Token> prompt);

  /// Draws until the text is finished.
  void write(bool read_all) {
    if (!read_all) {
      continuation_.finish(FinishReason::kCancelled);
    } else if (options_.max_tokens == 0) {
      continuation_.finish(FinishReason::kLength);
    }
    if (!continuation_.finished()) draw({});
    while (!continuation_.finished()) step();
    model_.settle(state_);
  }

  void report(GenerateResult& result) const;

 private:
  std::int64_t feed(const SequenceInput& input) {
    observer_.forget_logits();
    return model_.forward({&input, 1}, observer_);
  }
  void step();
  void draw(std::span<const Token> draft);
  void show(const std::string& text) const {
    if (!text.empty() && hooks_.on_text) hooks_.on_text(text);
  }

  Model& model_;
  const Tokenizer& tokenizer_;
  SequenceState& state_;
  const GenerateOptions& options_;
  const GenerateHooks& hooks_;
  Continuation continuation_;
  StepObserver observer_;
  std::optional<Speculation> speculation_;
  PassCost cost_;
  std::int64_t prompt_tokens_ = 0;
};

/// Feeds the prompt, a call for each stretch in one form of MLA; false if that was cancelled.
bool Decoding::read(std::span<const Token> prompt) {
  const std::vector<ReadToken> text = Reading(tokenizer_, model_.options().mla_form).prompt(prompt);
  const auto size = std::ssize(prompt);
  while (prompt_tokens_ < size) {
    const std::int64_t end = same_form_until(text, prompt_tokens_);
    const auto first = static_cast<std::size_t>(prompt_tokens_), count = static_cast<std::size_t>(end) - first;
    observer_.reads_prompt(prompt_tokens_, size);
    prompt_tokens_ += feed({&state_, prompt.subspan(first, count), end == size ? WantLogits::kLast : WantLogits::kNone,
                            text[first].form()});
    if (prompt_tokens_ < end) break;
  }
  observer_.reads_prompt(size, size);
  return prompt_tokens_ == size;
}

/// One call of the model: the last token drawn, and what is likely to follow it.
void Decoding::step() {
  std::vector<Token> tokens = {continuation_.ids().back()};
  if (speculation_) {
    const std::int64_t room = options_.max_tokens - std::ssize(continuation_.ids()) - 1;
    const std::span<const Token> draft = speculation_->propose(cost_, room);
    tokens.insert(tokens.end(), draft.begin(), draft.end());
  }
  const Clock::time_point start = Clock::now();
  const std::span<const Token> draft = std::span(tokens).subspan(1);
  feed({&state_, tokens, WantLogits::kAll, MlaForm::kAuto, std::ssize(draft)});
  cost_.observe(static_cast<int>(tokens.size()), seconds_since(start));
  draw(draft);
}

/// Draws from the logits of a call that fed `draft` last, for as long as the text is what was fed.
void Decoding::draw(std::span<const Token> draft) {
  const std::size_t before = continuation_.ids().size();
  for (std::size_t i = 0; i < observer_.num_rows() && !continuation_.finished(); ++i) {
    show(continuation_.accept(observer_.row(i)));
    if (observer_.cancelled()) show(continuation_.finish(FinishReason::kCancelled));
    if (i < draft.size() && continuation_.ids().back() != draft[i]) break;
  }
  const std::span<const Token> drawn = std::span(continuation_.ids()).subspan(before);
  state_.keep(std::min(state_.num_tentative(), std::ssize(drawn) - 1));
  if (speculation_) speculation_->judge(drawn);
}

void Decoding::report(GenerateResult& result) const {
  result.prompt_tokens = prompt_tokens_;
  result.text = continuation_.text();
  result.ids = continuation_.ids();
  result.logprobs = continuation_.logprobs();
  result.finish_reason = continuation_.finish_reason();
  result.stop_string = continuation_.stop_string();
  if (!speculation_) return;
  result.drafted_tokens = speculation_->drafted_tokens();
  result.accepted_tokens = speculation_->accepted_tokens();
}

}  // namespace

Continuation::Continuation(const Tokenizer& tokenizer, const GenerateOptions& options, std::span<const Token> prompt)
    : tokenizer_(&tokenizer),
      options_(options),
      sampler_(options.sampling),
      decoder_(tokenizer, /*skip_special=*/true) {
  validate(options_);
  if (options_.grammar) {
    grammar_ = options_.grammar->start();
    allowed_.resize((static_cast<std::size_t>(tokenizer.vocab_size()) + 63) / 64);
  }
  sampler_.observe(prompt);
}

std::string Continuation::accept(std::span<const float> logits) {
  const auto known = std::min(logits.size(), static_cast<std::size_t>(tokenizer_->vocab_size()));
  if (grammar_) grammar_->allowed(allowed_);
  SampledToken sampled = sampler_.sample(logits.first(known), allowed_);
  ids_.push_back(sampled.token);
  if (grammar_) grammar_->accept(sampled.token);
  const std::span<const Token> stops = tokenizer_->stop_tokens();
  const bool is_stop = !options_.ignore_stop_tokens && std::count(stops.begin(), stops.end(), sampled.token) > 0;
  if (options_.sampling.logprobs) logprobs_.push_back(std::move(sampled));

  if (is_stop) return finish(FinishReason::kStop);
  std::string certain = release(decoder_.push(ids_.back()), /*last=*/false);
  if (grammar_ && grammar_->finished()) certain += finish(FinishReason::kStop);
  if (static_cast<std::int64_t>(ids_.size()) >= options_.max_tokens) certain += finish(FinishReason::kLength);
  return certain;
}

std::string Continuation::finish(FinishReason reason) {
  if (finished()) return {};
  std::string rest = release(decoder_.finish(), /*last=*/true);
  if (!finished()) reason_ = reason;
  return rest;
}

/// Takes newly decoded text and returns what can no longer be part of a stop string; a complete one ends the text.
std::string Continuation::release(std::string_view decoded, bool last) {
  held_ += decoded;
  std::size_t end = std::string::npos;
  for (const std::string& stop : options_.stop) {
    const std::size_t at = held_.find(stop);
    if (at < end) {
      end = at;
      stop_string_ = stop;
    }
  }
  if (end != std::string::npos) {
    reason_ = FinishReason::kStop;
  } else {
    end = held_.size() - (last ? 0 : possible_stop_length(held_, options_.stop));
  }
  std::string certain = held_.substr(0, end);
  held_.erase(0, end);
  text_ += certain;
  return certain;
}

std::vector<std::uint8_t> forms_of_prompt(const Model& model, const Tokenizer& tokenizer,
                                          std::span<const Token> prompt) {
  std::vector<std::uint8_t> expanded;
  for (const ReadToken t : Reading(tokenizer, model.options().mla_form).prompt(prompt))
    expanded.push_back(t.expanded() ? 1 : 0);
  return expanded;
}

GenerateResult generate(Model& model, const Tokenizer& tokenizer, SequenceState& state, std::span<const Token> prompt,
                        const GenerateOptions& options, const GenerateHooks& hooks, int max_draft) {
  if (prompt.empty()) throw Error(ErrorCode::kInvalidArgument, "prompt: expected at least one token, got none");
  Decoding decoding(model, tokenizer, state, prompt, options, hooks, max_draft);
  Clock::time_point start = Clock::now();
  const bool read_all = decoding.read(prompt);
  GenerateResult result;
  result.prompt_seconds = seconds_since(start);

  start = Clock::now();
  decoding.write(read_all);
  result.decode_seconds = seconds_since(start);
  decoding.report(result);
  return result;
}

}  // namespace kl
