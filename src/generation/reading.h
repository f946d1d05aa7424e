#pragma once
// How a text's tokens are read, so that the same text is always read alike.
#include <cstdint>
#include <span>
#include <vector>

#include "kl/model.h"
#include "kl/tokenizer.h"

namespace kl {

/// A token and the form of MLA it is read in.  Two texts are the same to a model, bit for bit, where both are the same.
struct ReadToken {
  std::uint32_t bits = 0;  ///< token * 2 + expanded

  ReadToken() = default;
  ReadToken(Token token, bool expanded) : bits(static_cast<std::uint32_t>(token) << 1 | (expanded ? 1u : 0u)) {}
  Token token() const { return static_cast<Token>(bits >> 1); }
  bool expanded() const { return (bits & 1) != 0; }
  MlaForm form() const { return expanded() ? MlaForm::kExpanded : MlaForm::kAbsorbed; }
  auto operator<=>(const ReadToken&) const = default;
};

/// Decides the form of MLA for every token of a text from the text alone.
///
/// The two forms round differently, so the choice must not depend on what a cache already held or how a prompt was cut:
///
///   1. A text is cut after every <|im_end|>.  A stretch of at least kExpandFrom tokens is expanded, a shorter one absorbed:
///      that is where expansion begins to pay.
///   2. What the model writes is absorbed, since it comes token by token.  So a stretch that begins with <|im_assistant|> is
///      always absorbed, whoever wrote it: an answer reads the same when it comes back in the next prompt.
///   3. A model opened with a fixed form uses that one.
class Reading {
 public:
  Reading(const Tokenizer& tokenizer, MlaForm of_model);

  /// A prompt from its first token on.
  std::vector<ReadToken> prompt(std::span<const Token> tokens) const;

  /// A token the model has drawn.
  ReadToken drawn(Token token) const { return {token, of_model_ == MlaForm::kExpanded}; }

  bool ends_message(Token token) const { return token == message_end_; }

 private:
  MlaForm of_model_;
  Token message_end_, answer_begin_;  // -1 where the vocabulary has none
};

/// Tokens from `first` on that are read in the same form: what one call of Model::forward may bring.
std::int64_t same_form_until(std::span<const ReadToken> text, std::int64_t first);

}  // namespace kl
