#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "kl/tokenizer.h"

namespace kl {

struct Kernels;

/// How the next token is drawn from the logits.  Meaning and order of everything here are mlx-lm's (sample_utils.py):
///
///   1. the logits are changed, in this order: logit_bias, repetition, presence, frequency; then tokens that a grammar
///      forbids become impossible;
///   2. temperature 0 takes the largest (of equals the lowest id) and is done;
///   3. tokens are left out by their probabilities at temperature 1, in this order: top_p, min_p, top_k;
///   4. one of the rest is drawn with probability proportional to exp(logit / temperature).
struct SamplingParams {
  float temperature = 1.0f;  ///< >= 0; 0 is greedy
  float top_p = 1.0f;  ///< in [0, 1]: keep the fewest likeliest tokens whose mass reaches top_p, and all equal to the
                       ///< last of them; 0 and 1 keep all
  float min_p = 0.0f;  ///< in [0, 1]: drop tokens less likely than min_p times the likeliest; 0 keeps all
  int top_k = 0;       ///< keep the top_k likeliest, of equals the lower ids; 0 keeps all

  // The contexts count the last tokens of prompt and text together; 0 looks at all of them.
  float repetition_penalty = 1.0f;  ///< > 0: positive logits of tokens seen are divided by it, negative ones multiplied
  int repetition_context = 20;
  float presence_penalty = 0.0f;  ///< subtracted once from the logit of every token seen
  int presence_context = 20;
  float frequency_penalty = 0.0f;  ///< subtracted once for every time the token was seen
  int frequency_context = 20;

  std::vector<std::pair<Token, float>> logit_bias;  ///< added to the logits of these tokens; -infinity forbids one

  std::uint64_t seed = 0;  ///< same seed, same logits: same tokens, on every machine

  /// Unset: no log-probabilities are computed.  N >= 0: that of the chosen token and of the N likeliest are.
  std::optional<int> logprobs;
};

/// The natural logarithm of a token's probability under the model's own logits: before bias, penalties and temperature.
struct TokenLogprob {
  Token token = 0;
  float logprob = 0;
};

/// What one step chose.
struct SampledToken {
  Token token = 0;
  float logprob = 0;              ///< if SamplingParams::logprobs is set
  std::vector<TokenLogprob> top;  ///< the likeliest first
};

/// Random bits of one sequence: SplitMix64 (Steele, Lea, Flood 2014).  Draw number i is a mix of (seed, i) alone, so
/// the place in the stream is a plain counter, and no sequence disturbs another.
class CounterRng {
 public:
  explicit CounterRng(std::uint64_t seed);  ///< at draw number 0

  std::uint64_t next();  ///< 64 random bits

  /// A number in [0, bound), bound > 0; off from uniform by less than bound / 2^64.
  std::uint64_t below(std::uint64_t bound);

 private:
  std::uint64_t key_;
  std::uint64_t count_ = 0;
};

/// Draws the tokens of one sequence.
///
/// A step costs time linear in the vocabulary; nothing is ever sorted whole.  Probabilities are held as integers and
/// summed exactly, with an exponential function of our own: the choice does not depend on the C++ library, on the CPU,
/// or on an order of summation.  A token less likely than 2^-44 times the likeliest is never drawn.
///
/// Copying a sampler copies its place in the random stream and the tokens it has seen.
/// Thread safety: none for one object; different objects may be used by different threads.
class Sampler {
 public:
  /// `isa`: the table of kernels to compute with, such as Model::isa(); empty: as for ModelOptions::isa.  All draw
  /// alike.
  /// Throws Error(kInvalidArgument) naming the field that is out of range, and for a table that this CPU does not run.
  explicit Sampler(const SamplingParams& params, std::string_view isa = {});

  /// Tells the penalties about tokens that were not drawn here: the prompt.
  void observe(std::span<const Token> tokens);

  /// Draws the next token from `logits` [vocab] and observes it.
  /// Throws Error(kFailure) if a logit is NaN or +infinity or all are -infinity, Error(kInvalidArgument) if logit_bias
  /// names a token outside the vocabulary, Error(kUnsupported) if there are more than 2^18 logits.
  /// `allowed`, if not empty, has bit id % 64 of word id / 64 set for every token that may be drawn.
  SampledToken sample(std::span<const float> logits, std::span<const std::uint64_t> allowed = {});

  /// How likely `token` and the num_top likeliest are under `logits`; of use for text that was not drawn.
  /// Throws Error(kFailure) if a logit is NaN or +infinity or all are -infinity.
  SampledToken score(std::span<const float> logits, Token token, int num_top) const;

 private:
  /// SamplingParams in the order they apply: to the logits, then the draw.
  void apply_bias_and_penalties(std::span<float> logits) const;
  Token choose(std::span<const float> logits);

  const Kernels* kernels_;
  SamplingParams params_;
  CounterRng rng_;
  bool penalises_;
  std::vector<Token> seen_;  // only kept when penalises_
};

}  // namespace kl
