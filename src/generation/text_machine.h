#pragma once
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "generation/continuation.h"
#include "generation/mla_form_rule.h"
#include "generation/speculation.h"
#include "kl/model.h"

namespace kl {

/// One text in the making: which of its tokens the next pass reads, and what comes of their logits.
///
/// A text is read (its prompt, piece by piece) and then written (token by token, with drafts where they pay).  Whoever
/// owns the model drives it, alone (generate()) or many in one pass (Engine):
///
///     read_on(n) or write_on(cost)         choose the tokens of the next pass
///     model.forward({input(), ...})
///     if draws_from(i): draw(logits)       for each row's logits, in order; returns the text that became certain
///     end_pass()                           keeps what was fed rightly
///
/// until finished().  Only the public interface of the model is used.
///
/// Contract  tokens and text depend on prompt and options alone: not on the pieces, on drafts, or on when it is driven.
/// Thread safety: none for one object.
class TextMachine {
 public:
  using Clock = std::chrono::steady_clock;

  /// What does not follow from the request.
  struct Setting {
    std::string_view isa;  ///< table of kernels that tokens are drawn with (Sampler)
    int max_draft = 0;     ///< most tokens of a draft; 0: none
    std::int64_t ctx_size = std::numeric_limits<std::int64_t>::max();  ///< most tokens of prompt and text
  };

  /// The text is read into `state`, which may be given its value later.  What it has read by now is no part of the
  /// text.  `tokenizer` and `state` must outlive the object.
  /// Throws Error(kInvalidArgument) for an impossible option.
  TextMachine(const Tokenizer& tokenizer, const MlaFormRule& form, const GenerateOptions& options,
              std::span<const Token> prompt, SequenceState& state, const Setting& setting);
  TextMachine(const TextMachine&) = delete;
  TextMachine& operator=(const TextMachine&) = delete;

  // What a pass feeds.

  /// Something besides the token drawn last is still to be read: the prompt, or a text whose state was lost.
  bool is_reading() const { return length() - fed() > 1 || length() == prompt_tokens_; }

  /// The form in which the next token is read, and how many go on in it, up to `most`: what one pass may bring.
  MlaForm next_form() const { return tokens_[static_cast<std::size_t>(fed())].form(); }
  std::int64_t stretch(std::int64_t most = std::numeric_limits<std::int64_t>::max()) const;

  /// The next pass reads `count` more tokens.  REQUIRES: is_reading(), 1 <= count <= stretch().
  void read_on(std::int64_t count);

  /// The next pass reads the token drawn last, and a draft of what may follow if that pays in a pass of `rows` texts.
  /// REQUIRES: not is_reading().
  void write_on(const PassCost& cost, int rows = 1);

  /// The text's share of the pass.  `all_logits`: of every token, not only where one is drawn.
  SequenceInput input(bool all_logits = false) const;
  std::int64_t pass_first() const { return pass_first_; }       ///< position of its first token
  std::int64_t pass_size() const { return std::ssize(pass_); }  ///< tokens

  // What comes of it.

  /// Whether the logits after token `index` of the pass give the next token: they follow all of the text so far.
  bool draws_from(std::int64_t index) const;

  /// Draws the next token and returns the text that has become certain, which may be empty.
  /// REQUIRES: logits that follow all of the text, not finished().  Errors: those of Sampler::sample() and the grammar.
  std::string draw(std::span<const float> logits);

  /// After the pass: takes back what of the draft was not drawn.  Returns the number of tokens drawn.
  std::int64_t end_pass();

  /// Ends the text from outside; returns what was held back.  No effect once finished.
  std::string finish(FinishReason reason) { return continuation_.finish(reason); }

  // What there is.

  bool finished() const { return continuation_.finished(); }
  const Continuation& continuation() const { return continuation_; }  ///< what was drawn, and what it says
  const std::vector<ReadToken>& tokens() const { return tokens_; }    ///< prompt and what was drawn
  std::span<const ReadToken> read() const { return std::span(tokens_).first(static_cast<std::size_t>(fed())); }
  std::int64_t length() const { return std::ssize(tokens_); }
  std::int64_t fed() const { return state_.num_tokens() - before_; }  ///< tokens that the state has read
  std::int64_t prompt_tokens() const { return prompt_tokens_; }
  std::int64_t prompt_done() const { return std::min(fed(), prompt_tokens_); }
  TokenCounts counts() const;  ///< none is cached: the machine does not know where its state came from
  Clock::time_point written_since() const { return written_since_; }  ///< when the first token was to be drawn

 private:
  // Constant after construction.
  SequenceState& state_;
  const std::int64_t before_;  // tokens of the state that are no part of the text
  const std::int64_t prompt_tokens_, ctx_size_;
  const MlaForm drawn_form_;

  std::vector<ReadToken> tokens_;
  Continuation continuation_;
  std::optional<Speculation> speculation_;
  Clock::time_point written_since_;

  // Of the pass.
  std::vector<Token> pass_;
  std::int64_t pass_first_ = 0;
  std::int64_t draft_ = 0;        // the last so many tokens are one
  std::size_t drawn_before_ = 0;  // tokens drawn by earlier passes
};

}  // namespace kl
