#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kl/grammar.h"
#include "kl/model.h"
#include "kl/sampler.h"
#include "kl/tokenizer.h"

namespace kl {

/// Why a text ended.
enum class FinishReason : std::uint8_t {
  kStop,       ///< the model drew a stop token, or the text reached a stop string
  kLength,     ///< max_tokens were drawn
  kCancelled,  ///< the caller asked to stop
  kTimeout,    ///< its deadline passed
};

/// What to generate.
struct GenerateOptions {
  SamplingParams sampling;
  std::int64_t max_tokens = 256;           ///< most tokens drawn; 0 only reads the prompt
  std::vector<std::string> stop;           ///< the text ends before the first of these; it never shows any part of one
  bool ignore_stop_tokens = false;         ///< go on after the model's own end tokens
  std::shared_ptr<const Grammar> grammar;  ///< what the text must look like; null: anything
};

/// One text in the making: everything between the logits of a step and the input of the next.
///
/// It knows nothing of models or batches.  A single generation (generate()) and a server that batches many sequences
/// drive it alike: forward pass, accept() the logits, feed accepted token to the next pass, until finished().
///
/// Invariant: the concatenation of all text handed out is text(), which is the decoding of ids() without control
/// tokens, cut before the first stop string.
/// Thread safety: none for one object.
class Continuation {
 public:
  /// `tokenizer` must outlive the object; `prompt` is what the penalties count as already said.
  /// Throws Error(kInvalidArgument) for an impossible option.
  Continuation(const Tokenizer& tokenizer, const GenerateOptions& options, std::span<const Token> prompt);

  /// Draws the next token from the model's logits and returns the text that has become certain; may be empty.
  /// Ids the tokenizer does not know (padding rows of the output matrix) are never drawn.
  /// REQUIRES: not finished().  Errors: those of Sampler::sample().
  std::string accept(std::span<const float> logits);

  /// Ends the text from outside, with kCancelled, or kLength; returns what was held back.  No effect once finished.
  std::string finish(FinishReason reason);

  bool finished() const { return reason_.has_value(); }           ///< nothing follows
  FinishReason finish_reason() const { return reason_.value(); }  ///< REQUIRES: finished()

  const std::string& text() const { return text_; }                        ///< all pieces so far
  const std::vector<Token>& ids() const { return ids_; }                   ///< all tokens drawn, a stop token included
  const std::vector<SampledToken>& logprobs() const { return logprobs_; }  ///< one per id, if asked for
  const std::string& stop_string() const { return stop_string_; }          ///< the one that ended the text, or empty

 private:
  std::string release(std::string_view decoded, bool last);  ///< what of it no stop string can still claim

  // Constant after construction.
  const Tokenizer* tokenizer_;
  GenerateOptions options_;

  Sampler sampler_;
  std::unique_ptr<GrammarState> grammar_;  // null: anything goes
  std::vector<std::uint64_t> allowed_;     // its mask; empty without one
  StreamDecoder decoder_;
  std::string held_;  // decoded, but might be the beginning of a stop string
  std::string text_;
  std::vector<Token> ids_;
  std::vector<SampledToken> logprobs_;
  std::string stop_string_;
  std::optional<FinishReason> reason_;
};

/// What a caller may follow while a text is made.  All optional.
struct GenerateHooks {
  std::function<void(std::string_view text)> on_text;                    ///< whole characters, as soon as certain
  std::function<void(std::int64_t done, std::int64_t total)> on_prompt;  ///< prompt tokens read so far

  /// Looked at after every pass; set it from anywhere, even a signal handler.
  const std::atomic<bool>* cancel = nullptr;
};

/// What came out, and how long it took.
struct GenerateResult {
  std::string text;
  std::vector<Token> ids;              ///< tokens drawn, a stop token included; all but the last are in the state
  std::vector<SampledToken> logprobs;  ///< one per id, if asked for
  FinishReason finish_reason = FinishReason::kLength;
  std::string stop_string;                               ///< the stop string that ended the text, or empty
  std::int64_t prompt_tokens = 0;                        ///< prompt tokens fed: all of them, unless cancelled before
  double prompt_seconds = 0;                             ///< from the call to the first logits
  double decode_seconds = 0;                             ///< from then to the end
  std::int64_t drafted_tokens = 0, accepted_tokens = 0;  ///< fed by speculation, and how many of them were drawn
};

/// In which form of MLA generate() reads each token of a prompt, 1 for expanded: long messages that the model did not
/// write itself, by the text alone (docs/serving.md#the-form-of-attention).  Drawn tokens are absorbed.
std::vector<std::uint8_t> forms_of_prompt(const Model& model, const Tokenizer& tokenizer,
                                          std::span<const Token> prompt);

/// Feeds `prompt` (at least one token) to `state` and continues it.
///
/// Afterwards the state is settled (Model::settle) and holds what it held before, the prompt, and all drawn tokens but the
/// last; feed that one (or the turn's proper end) first to go on.
/// With max_draft > 0, up to so many tokens are fed ahead of being drawn where the text repeats what it or the prompt
/// said before and that is likely to be faster (prompt lookup, docs/speculation.md).  Text and state are the same.
/// Throws Error(kInvalidArgument) for an empty prompt or an impossible option (nothing is fed then), and whatever
/// Model::forward and Sampler::sample throw.  What the hooks throw passes through.
GenerateResult generate(Model& model, const Tokenizer& tokenizer, SequenceState& state, std::span<const Token> prompt,
                        const GenerateOptions& options, const GenerateHooks& hooks = {}, int max_draft = 0);

}  // namespace kl
