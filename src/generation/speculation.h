#pragma once
#include <array>

#include "generation/ngram_draft.h"

namespace kl {

/// What a pass of few rows costs, learnt by doing: a straight line through the times of late, bent towards a guess
/// where there are none.  It decides about speed only, never about a text.
class PassCost {
 public:
  void observe(int rows, double seconds);
  double seconds(int rows) const;  ///< 1 at first: only ratios matter

 private:
  double slope() const;

  // Decaying sums over past passes: their weight, means, and (co)variance times weight.
  double weight_ = 0, mean_rows_ = 1, mean_seconds_ = 1, rows_rows_ = 0, rows_seconds_ = 0;
};

/// Drafts for one text, as many tokens as pay.
///
///     a pass feeds the last token and what propose() gives; tokens are drawn from its logits in order, as ever, until
///     one differs from the draft; judge() is told what was drawn, the state what to keep
///
/// Drawing knows nothing of drafts, so neither does the text: with any seed it is that of one token per pass.
/// A draft pays if the tokens it is likely to add outweigh the rows it adds; how likely is learnt from drafts that were
/// fed and, for free, from those that were not.
class Speculation {
 public:
  /// Drafts of at most `most` tokens.
  explicit Speculation(int most);

  /// Tokens that were not drawn: the prompt.
  void append(std::span<const Token> tokens) { drafter_.append(tokens); }

  /// What to feed after the last token, tentatively: at most `room` tokens, none if it does not pay in a pass of `rows`
  /// rows that each draw a token.  Valid until the next call.
  std::span<const Token> propose(const PassCost& cost, std::int64_t room, int rows = 1);

  /// What was drawn from the pass, at least one token: all but the last are the draft's.
  void judge(std::span<const Token> drawn);

  std::int64_t drafted_tokens() const { return drafted_; }    ///< fed
  std::int64_t accepted_tokens() const { return accepted_; }  ///< of these, drawn as well: passes saved

 private:
  double& rate_of(int match);
  int worth(double rate, const PassCost& cost, int rows) const;

  int most_;
  NgramDraft drafter_;
  std::array<double, 4> rates_;  // by length of match: how often one more token of a draft is right
  Draft draft_;                  // the last one
  int fed_ = 0;                  // tokens of it in the pass
  std::int64_t drafted_ = 0, accepted_ = 0;
};

}  // namespace kl
