#include "kl/generate.h"

#include <algorithm>
#include <chrono>

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

/// Keeps the last logits of a pass, reports progress on the prompt, and passes on the wish to stop.
class StepObserver : public ForwardObserver {
 public:
  explicit StepObserver(const GenerateHooks& hooks) : hooks_(hooks) {}

  bool cancelled() const { return hooks_.cancel != nullptr && hooks_.cancel->load(std::memory_order_relaxed); }
  std::span<const float> logits() const { return logits_; }

  void on_logits(int, std::int64_t, std::span<const float> logits) override {
    logits_.assign(logits.begin(), logits.end());
  }
  bool on_progress(std::int64_t done, std::int64_t total) override {
    if (reads_prompt_ && hooks_.on_prompt) hooks_.on_prompt(done, total);
    if (done == total) reads_prompt_ = false;
    return !cancelled();
  }

 private:
  const GenerateHooks& hooks_;
  bool reads_prompt_ = true;
  std::vector<float> logits_;
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

GenerateResult generate(Model& model, const Tokenizer& tokenizer, SequenceState& state, std::span<const Token> prompt,
                        const GenerateOptions& options, const GenerateHooks& hooks) {
  if (prompt.empty()) throw Error(ErrorCode::kInvalidArgument, "prompt: expected at least one token, got none");
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };

  Continuation continuation(tokenizer, options, prompt);
  StepObserver observer(hooks);
  const auto show = [&](const std::string& text) {
    if (!text.empty() && hooks.on_text) hooks.on_text(text);
  };
  const auto feed = [&](std::span<const Token> tokens) {
    const SequenceInput input{&state, tokens, WantLogits::kLast};
    return model.forward({&input, 1}, observer);
  };

  GenerateResult result;
  Clock::time_point start = Clock::now();
  result.prompt_tokens = feed(prompt);
  result.prompt_seconds = seconds_since(start);

  start = Clock::now();
  const bool read_all = result.prompt_tokens == static_cast<std::int64_t>(prompt.size());
  if (!read_all) {
    continuation.finish(FinishReason::kCancelled);
  } else if (options.max_tokens == 0) {
    continuation.finish(FinishReason::kLength);
  }
  while (!continuation.finished()) {
    show(continuation.accept(observer.logits()));
    if (observer.cancelled()) show(continuation.finish(FinishReason::kCancelled));
    if (!continuation.finished()) feed({&continuation.ids().back(), 1});
  }
  result.decode_seconds = seconds_since(start);

  result.text = continuation.text();
  result.ids = continuation.ids();
  result.logprobs = continuation.logprobs();
  result.finish_reason = continuation.finish_reason();
  result.stop_string = continuation.stop_string();
  return result;
}

}  // namespace kl
