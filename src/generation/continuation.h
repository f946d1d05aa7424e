#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/stop_filter.h"
#include "kl/generate.h"

namespace kl {

/// What a text says: tokens from logits, text from tokens, and when it ends.  Knows nothing of models or passes.
///
/// Invariant: the concatenation of all text handed out is text(), which is the decoding of ids() without control
/// tokens, cut before the first stop string.
/// Thread safety: none for one object.
class Continuation {
 public:
  /// `tokenizer` must outlive the object; `prompt` is what the penalties count as already said; `isa` is the table of
  /// kernels (Sampler).
  /// Throws Error(kInvalidArgument) for an impossible option.
  Continuation(const Tokenizer& tokenizer, const GenerateOptions& options, std::span<const Token> prompt,
               std::string_view isa);

  /// Draws the next token from the model's logits and returns the text that has become certain; may be empty.
  /// Ids the tokenizer does not know (padding rows of the output matrix) are never drawn.  max_tokens 0 only ends.
  /// REQUIRES: not finished().  Errors: those of Sampler::sample().
  std::string accept(std::span<const float> logits);

  /// Ends the text from outside, with kCancelled, or kLength; returns what was held back.  No effect once finished.
  std::string finish(FinishReason reason);

  /// How likely `token` is under logits that it was not drawn from, as Sampler::score() says.
  SampledToken score(std::span<const float> logits, Token token) const;

  bool finished() const { return reason_.has_value(); }
  FinishReason finish_reason() const { return reason_.value(); }

  const GenerateOptions& options() const { return options_; }
  const std::string& text() const { return text_; }
  const std::vector<Token>& ids() const { return ids_; }                         ///< all tokens drawn, a stop token too
  const std::vector<SampledToken>& logprobs() const { return logprobs_; }        ///< one per id, if asked for
  const std::string& stop_string() const { return stop_filter_.stop_string(); }  ///< that ended the text, or empty

 private:
  /// The logits of tokens that exist.
  std::span<const float> known(std::span<const float> logits) const;
  std::string say(std::string certain);

  // Constant after construction.
  const Tokenizer* tokenizer_;
  GenerateOptions options_;

  Sampler sampler_;
  std::unique_ptr<GrammarState> grammar_;  // null: anything goes
  std::vector<std::uint64_t> allowed_;     // its mask; empty without one
  StreamDecoder decoder_;
  StopFilter stop_filter_;
  std::string text_;
  std::vector<Token> ids_;
  std::vector<SampledToken> logprobs_;
  std::optional<FinishReason> reason_;
};

}  // namespace kl
