#include "kl/perplexity.h"

#include <cmath>
#include <numbers>

#include "evaluation/distribution.h"
#include "evaluation/saved_probabilities.h"
#include "evaluation/windows.h"
#include "kl/error.h"

namespace kl {
namespace {

/// The token a window begins with instead of its own, or -1.
Token first_token(const Tokenizer& tokenizer, const PerplexityOptions& options) {
  if (!options.bos) return -1;
  if (options.stride > 0) {
    throw Error(ErrorCode::kInvalidArgument, "bos: expected windows side by side, got a stride");
  }
  const Token bos = tokenizer.special_id("[BOS]");
  if (bos < 0) {
    throw Error(ErrorCode::kInvalidArgument, "bos: expected a model with a beginning-of-text token, got one without");
  }
  return bos;
}

/// Takes scored tokens one by one, and compares and saves where that is wanted.
class Scorer {
 public:
  Scorer(const PerplexityOptions& options, const Tokenizer& tokenizer, const ScoredText& text) : tokenizer_(tokenizer) {
    if (!options.base.empty()) base_.emplace(options.base, text);
    if (!options.save_base.empty()) saved_.emplace(options.save_base, text);
  }

  void score(Token came, std::span<const float> logits) {
    const double log_sum = log_sum_exp(logits);
    const double nll = log_sum - double{logits[static_cast<std::size_t>(came)]};
    nll_.add(nll);
    bytes_ += came < tokenizer_.vocab_size() ? static_cast<std::int64_t>(tokenizer_.bytes_of(came).size()) : 0;
    if (base_) compare(logits, log_sum, nll);
    if (saved_) saved_->write(encode_row(logits, static_cast<float>(nll), codes_));
  }

  void finish(PerplexityResult& result) {
    if (saved_) saved_->finish();
    result.positions = nll_.count();
    result.bytes = bytes_;
    result.nll = nll_.mean();
    result.perplexity = std::exp(nll_.mean());
    result.error = result.perplexity * nll_.error();
    result.bits_per_byte =
        nll_.mean() * static_cast<double>(nll_.count()) / std::numbers::ln2 / static_cast<double>(bytes_);
    if (base_) result.comparison = comparison();
  }

 private:
  void compare(std::span<const float> logits, double log_sum, double nll) {
    const CodedRow row = base_->next();
    divergences_.push_back(static_cast<float>(divergence(row, logits, log_sum)));
    kl_.add(double{divergences_.back()});
    same_top_.add(likeliest(logits) == row.top ? 1 : 0);
    base_nll_.add(double{row.nll});
    more_nll_.add(nll - double{row.nll});
  }

  BaseComparison comparison() {
    BaseComparison c;
    c.kl = kl_.mean();
    c.kl_error = kl_.error();
    c.kl_median = quantile(divergences_, 0.5);
    c.kl_99 = quantile(divergences_, 0.99);
    c.kl_max = double{divergences_.back()};  // sorted by now
    c.same_top = same_top_.mean();
    c.same_top_error = same_top_.error();
    c.perplexity = std::exp(base_nll_.mean());
    c.ratio = std::exp(more_nll_.mean());
    c.ratio_error = c.ratio * more_nll_.error();
    return c;
  }

  const Tokenizer& tokenizer_;
  std::optional<BaseReader> base_;
  std::optional<BaseWriter> saved_;
  std::vector<std::uint16_t> codes_;
  std::int64_t bytes_ = 0;
  Mean nll_, base_nll_, more_nll_, kl_, same_top_;
  std::vector<float> divergences_;
};

}  // namespace

PerplexityResult perplexity(Model& model, const Tokenizer& tokenizer, std::string_view text,
                            const PerplexityOptions& options) {
  const Token first = first_token(tokenizer, options);
  const std::vector<Token> tokens = tokenizer.encode(text);
  const Windows windows = cut_windows(static_cast<std::int64_t>(tokens.size()), options.context, options.stride);
  Scorer scorer(options, tokenizer,
                {.vocab_size = model.args().vocab_size,
                 .context = options.context,
                 .stride = options.stride,
                 .bos = options.bos ? 1 : 0,
                 .window_positions = windows.positions(),
                 .windows = windows.count,
                 .tokens = tokens});
  PerplexityResult result;
  result.tokens = static_cast<std::int64_t>(tokens.size());
  result.windows = windows.count;
  result.read = windows.count * windows.read();
  read_windows(
      model, tokens, windows, options.batch, first,
      [&](Token came, std::span<const float> logits) { scorer.score(came, logits); }, options.progress);
  scorer.finish(result);
  return result;
}

}  // namespace kl
