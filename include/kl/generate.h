#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kl/grammar.h"
#include "kl/model.h"
#include "kl/read_token.h"
#include "kl/sampler.h"
#include "kl/token_counts.h"
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
  std::vector<ReadToken> read;         ///< what the state has read in the call: the prompt and those tokens
  std::vector<SampledToken> logprobs;  ///< one per id, if asked for
  FinishReason finish_reason = FinishReason::kLength;
  std::string stop_string;    ///< the stop string that ended the text, or empty
  TokenCounts tokens;         ///< of the prompt those fed: all, unless cancelled before
  double prompt_seconds = 0;  ///< from the call to the first logits
  double decode_seconds = 0;  ///< from then to the end
};

/// Feeds `prompt` (at least one token) to `state` and continues it.
///
/// Each token is read in the form of MLA that follows from the text alone (docs/serving.md#the-form-of-attention).
/// Afterwards the state is settled (Model::settle) and holds what it held before, the prompt, and all drawn tokens but
/// the last; feed that one (or the turn's proper end) first to go on.
/// With max_draft > 0, up to so many tokens are fed ahead of being drawn where the text repeats what it or the prompt
/// said before and that is likely to be faster (prompt lookup, docs/speculation.md).  Text and state are the same.
/// Throws Error(kInvalidArgument) for an empty prompt or an impossible option (nothing is fed then), and whatever
/// Model::forward and Sampler::sample throw.  What the hooks throw passes through.
GenerateResult generate(Model& model, const Tokenizer& tokenizer, SequenceState& state, std::span<const Token> prompt,
                        const GenerateOptions& options, const GenerateHooks& hooks = {}, int max_draft = 0);

}  // namespace kl
