#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "kl/sampler.h"
#include "kl/tokenizer.h"
#include "server/api/json.h"

namespace kl {

/// `logprobs` of /v1/completions: four arrays with one element per token.  Offsets count characters from the beginning
/// of the text, echoed prompt included.
class TextLogprobs {
 public:
  explicit TextLogprobs(const Tokenizer& tokenizer);

  /// A token of an echoed prompt without a score: null.  The first one has none, as nothing predicts it.
  void add_unscored(Token token);

  /// Tokens with their scores; control tokens that a text leaves out are left out.  `with_control`: they are not,
  /// because the tokens are those of a prompt.
  void add(const std::vector<SampledToken>& tokens, bool with_control);

  /// What was added since the last take().
  OrderedJson take();

 private:
  struct Place {
    Token token;
    std::int64_t offset;                // characters before it
    std::optional<SampledToken> score;  // nothing: null
  };
  void add_place(Token token, std::optional<SampledToken> score);

  const Tokenizer* tokenizer_;
  StreamDecoder decoder_;
  std::int64_t characters_ = 0;
  std::vector<Place> pending_;
};

}  // namespace kl
