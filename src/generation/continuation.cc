#include "generation/continuation.h"

#include <algorithm>

#include "kl/error.h"

namespace kl {
namespace {

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

Continuation::Continuation(const Tokenizer& tokenizer, const GenerateOptions& options, std::span<const Token> prompt,
                           std::string_view isa)
    : tokenizer_(&tokenizer),
      options_(options),
      sampler_(options.sampling, isa),
      decoder_(tokenizer, /*skip_special=*/true),
      stop_filter_(options.stop) {
  validate(options_);
  if (options_.grammar) {
    grammar_ = options_.grammar->start();
    allowed_.resize((static_cast<std::size_t>(tokenizer.vocab_size()) + 63) / 64);
  }
  sampler_.observe(prompt);
}

std::span<const float> Continuation::known(std::span<const float> logits) const {
  return logits.first(std::min(logits.size(), static_cast<std::size_t>(tokenizer_->vocab_size())));
}

std::string Continuation::accept(std::span<const float> logits) {
  if (options_.max_tokens == 0) return finish(FinishReason::kLength);
  if (grammar_) grammar_->allowed(allowed_);
  SampledToken sampled = sampler_.sample(known(logits), allowed_);
  ids_.push_back(sampled.token);
  if (grammar_) grammar_->accept(sampled.token);
  const std::span<const Token> stops = tokenizer_->stop_tokens();
  const bool is_stop = !options_.ignore_stop_tokens && std::count(stops.begin(), stops.end(), sampled.token) > 0;
  if (options_.sampling.logprobs) logprobs_.push_back(std::move(sampled));

  if (is_stop) return finish(FinishReason::kStop);
  std::string certain = say(stop_filter_.push(decoder_.push(ids_.back())));
  if (grammar_ && grammar_->finished()) certain += finish(FinishReason::kStop);
  if (std::ssize(ids_) >= options_.max_tokens) certain += finish(FinishReason::kLength);
  return certain;
}

std::string Continuation::finish(FinishReason reason) {
  if (finished()) return {};
  std::string rest = say(stop_filter_.push(decoder_.finish()));
  if (finished()) return rest;
  reason_ = reason;
  return rest + say(stop_filter_.flush());
}

SampledToken Continuation::score(std::span<const float> logits, Token token) const {
  return sampler_.score(known(logits), token, options_.sampling.logprobs.value_or(0));
}

/// Adds to the text what can no longer be part of a stop string, and returns it; a complete one ends the text.
std::string Continuation::say(std::string certain) {
  text_ += certain;
  if (stop_filter_.hit()) reason_ = FinishReason::kStop;
  return certain;
}

}  // namespace kl
