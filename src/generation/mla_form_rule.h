#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kl/model.h"
#include "kl/read_token.h"
#include "kl/tokenizer.h"

namespace kl {

/// Decides the form of MLA for every token of a text, from the text alone.
///
/// The two forms round differently, so the choice must not depend on what a cache already held or how a prompt was cut:
///
///   1. A text is cut after every <|im_end|>.  A stretch of at least kExpandFrom tokens is expanded, a shorter one
///      absorbed: that is where expansion begins to pay.
///   2. What the model writes is absorbed, since it comes token by token.  So a stretch that begins with
///      <|im_assistant|> is always absorbed, whoever wrote it: an answer reads the same when it comes back in the next
///      prompt.
///   3. A model opened with a fixed form uses that one.
class MlaFormRule {
 public:
  MlaFormRule(const Tokenizer& tokenizer, MlaForm of_model);

  /// A prompt, from the first token of the text on.
  std::vector<ReadToken> prompt(std::span<const Token> tokens) const;

  /// The form of what the model draws.
  MlaForm drawn() const { return of_model_ == MlaForm::kExpanded ? MlaForm::kExpanded : MlaForm::kAbsorbed; }

  bool ends_message(Token token) const { return token == message_end_; }

 private:
  MlaForm of_model_;
  Token message_end_, answer_begin_;  // -1 where the vocabulary has none
};

}  // namespace kl
