#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "kl/model.h"
#include "kl/options.h"
#include "kl/tokenizer.h"

namespace kl {

/// How a text is scored.  The definitions are llama-perplexity's, so that numbers can be compared.
struct PerplexityOptions {
  int context = 512;  ///< tokens of a window, at least 3
  int stride = 0;     ///< 0: windows lie side by side and the second half of each is scored.  Above: windows of
      ///< context + stride / 2 tokens begin every `stride` tokens, and the last `stride` of each are scored
  bool bos = false;  ///< the first token of each window is read as the beginning-of-text token; not with a stride
  int batch = 0;     ///< windows read together; never changes results; 0 = as many as fill a pass

  std::filesystem::path base;       ///< compare with the probabilities saved here; empty: with none
  std::filesystem::path save_base;  ///< save this model's probabilities here; empty: nowhere
  Progress progress;                ///< counts tokens read, and is called after every pass
};

/// How a model's distribution differs from the one saved, over all scored positions.  "Error" is a standard error.
struct BaseComparison {
  double kl = 0, kl_error = 0;              ///< mean Kullback-Leibler divergence from the base, nats
  double kl_median = 0, kl_99 = 0;          ///< quantiles of it
  double kl_max = 0;                        ///< and the largest
  double same_top = 0, same_top_error = 0;  ///< share of positions with the same likeliest token
  double perplexity = 0;                    ///< of the base
  double ratio = 0, ratio_error = 0;        ///< perplexity of the model / of the base
};

/// What a model makes of a text.
struct PerplexityResult {
  std::int64_t tokens = 0;     ///< of the whole text
  std::int64_t read = 0;       ///< fed to the model, all windows together
  std::int64_t windows = 0;    ///< read
  std::int64_t positions = 0;  ///< scored tokens
  std::int64_t bytes = 0;      ///< text they stand for
  double nll = 0;              ///< mean -log p of a scored token, nats
  double perplexity = 0;       ///< e^nll
  double error = 0;            ///< standard error of the perplexity
  double bits_per_byte = 0;    ///< of the scored text
  std::optional<BaseComparison> comparison;
};

/// Scores a text: how likely the model finds each token after those before it in its window.
///
/// Numerics  the same for any batch, number of threads and tokens of a pass.  Logarithms are taken of sums in double.
///           Saved log-probabilities have 16 bits, evenly spaced between the largest and the smallest or the largest - 32,
///           whichever is nearer: off by at most 2.5e-4, which makes the KL divergence of a model from itself less than
///           1e-8 nats instead of 0.
/// Errors    Error: kInvalidArgument (options, no beginning-of-text token), kCorrupt (a text too short, a base that is
///           damaged or of another text, vocabulary or setting), kNotFound, kCannotWrite, kFailure (logits that are no
///           numbers), and what Model::forward throws.
/// Source    llama.cpp, tools/perplexity: perplexity(), perplexity_v2(), kl_divergence().
PerplexityResult perplexity(Model& model, const Tokenizer& tokenizer, std::string_view text,
                            const PerplexityOptions& options = {});

}  // namespace kl
