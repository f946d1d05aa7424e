#include "kl/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/random.h"
#include "kernels/select.h"
#include "kl/error.h"

namespace kl {
namespace {

/// One token still in the draw.
struct Candidate {
  Token token;
  float logit;
  std::uint64_t mass;  // probability relative to the likeliest token, in units of 2^-kMassBits
};

constexpr std::size_t kMaxVocab = std::size_t{1} << 18;  // TokenMassesFn

/// masses[i] of logits at a temperature.
void compute_masses(const Kernels& kernels, std::span<const float> logits, float top, float temperature,
                    std::vector<std::uint64_t>& masses) {
  masses.resize(logits.size());
  kernels.token_masses(logits.data(), std::ssize(logits), top, temperature, masses.data());
}

/// The first place where the masses up to it exceed `left`.
std::size_t place_of(std::uint64_t left, std::span<const std::uint64_t> masses) {
  std::size_t i = 0;
  while (left >= masses[i]) left -= masses[i++];
  return i;
}

std::uint64_t sum(std::span<const std::uint64_t> masses) {
  return std::accumulate(masses.begin(), masses.end(), std::uint64_t{0});
}

/// The one order of tokens: by logit, of equals the lower id first.
bool likelier(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

std::uint64_t total_mass(std::span<const Candidate> candidates) {
  std::uint64_t sum = 0;
  for (const Candidate& c : candidates) sum += c.mass;
  return sum;
}

/// The largest logit.  Throws Error if one is NaN or +infinity, or all are -infinity.
float checked_max(std::span<const float> logits) {
  float top = -std::numeric_limits<float>::infinity();
  bool sound = true;
  for (const float x : logits) {
    sound = sound && x < std::numeric_limits<float>::infinity();  // false for NaN as well
    top = x > top ? x : top;
  }
  if (sound && std::isfinite(top)) return top;
  if (sound) throw Error(ErrorCode::kFailure, "logits: expected a token that is possible, got -inf for every token");
  const auto bad = std::find_if_not(logits.begin(), logits.end(),
                                    [](float x) { return x < std::numeric_limits<float>::infinity(); });
  throw Error(ErrorCode::kFailure, fmt::format("logits: expected finite numbers, got {} for token {}",
                                               std::isnan(*bad) ? "nan" : "inf", bad - logits.begin()));
}

/// The logit of the least likely token that top-p keeps: the last whose likelier tokens have a mass below `wanted`.
/// Reorders `candidates`.  Halves the doubtful range each time, so it takes linear time where sorting would not.
float nucleus_threshold(std::span<Candidate> candidates, double wanted) {
  std::size_t begin = 0, end = candidates.size();  // [0, begin] is kept, [end, ...) is not
  std::uint64_t mass_before = 0;                   // of [0, begin)
  while (end - begin > 1) {
    const std::size_t middle = begin + (end - begin) / 2;
    const auto at = [&](std::size_t i) { return candidates.begin() + static_cast<std::ptrdiff_t>(i); };
    std::nth_element(at(begin), at(middle), at(end), likelier);
    const std::uint64_t mass = mass_before + total_mass(candidates.subspan(begin, middle - begin));
    if (static_cast<double>(mass) >= wanted) {
      end = middle;
    } else {
      mass_before = mass;
      begin = middle;
    }
  }
  return candidates[begin].logit;
}

/// The fewest likeliest tokens whose mass reaches top_p, and all equal to the last of them.
void keep_top_p(std::vector<Candidate>& candidates, double wanted, std::vector<Candidate>& scratch) {
  scratch = candidates;
  const float threshold = nucleus_threshold(scratch, wanted);
  std::erase_if(candidates, [&](const Candidate& c) { return c.logit < threshold; });
}

/// Tokens at least min_p times as likely as the likeliest, whose mass is 2^kMassBits.
void keep_min_p(std::vector<Candidate>& candidates, double min_p) {
  const double least = min_p * static_cast<double>(std::uint64_t{1} << kMassBits);
  std::erase_if(candidates, [&](const Candidate& c) { return static_cast<double>(c.mass) < least; });
}

/// The top_k likeliest, of equals the lower ids.
void keep_top_k(std::vector<Candidate>& candidates, std::size_t top_k, std::vector<Candidate>& scratch) {
  if (candidates.size() <= top_k) return;
  scratch.resize(top_k);
  std::partial_sort_copy(candidates.begin(), candidates.end(), scratch.begin(), scratch.end(), likelier);
  const Candidate last = scratch.back();
  std::erase_if(candidates, [&](const Candidate& c) { return likelier(last, c); });
}

/// Buffers of one step.  One set per thread and not per sequence: at 163,840 tokens they take 8 MB.
struct Scratch {
  std::vector<float> logits, kept;
  std::vector<std::uint64_t> masses;
  std::vector<Candidate> candidates, selection;
};

Scratch& scratch() {
  static thread_local Scratch buffers;
  return buffers;
}

/// Tokens whose bit is not set become impossible.  REQUIRES: a bit for every logit.
void forbid_others(std::span<float> logits, std::span<const std::uint64_t> allowed) {
  for (std::size_t i = 0; i < logits.size(); ++i)
    if ((allowed[i / 64] >> i % 64 & 1) == 0) logits[i] = -std::numeric_limits<float>::infinity();
}

/// What top_p, min_p and top_k leave of the tokens, in the order of their ids; valid until the thread's next step.
const std::vector<Candidate>& cut(const Kernels& kernels, const SamplingParams& params, std::span<const float> logits,
                                  float top) {
  const bool by_top_p = params.top_p > 0 && params.top_p < 1, by_mass = by_top_p || params.min_p > 0;
  std::vector<Candidate>& candidates = scratch().candidates;
  std::vector<std::uint64_t>& masses = scratch().masses;
  candidates.clear();
  double total = 0, least = 0;
  if (by_mass) {
    compute_masses(kernels, logits, top, 1.0f, masses);
    total = static_cast<double>(sum(masses));
    // All tokens below this mass together have less than 1 - top_p, so none of them can be needed.
    if (by_top_p) least = (1.0 - params.top_p) * total / static_cast<double>(logits.size());
  }
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const std::uint64_t mass = by_mass ? masses[i] : 0;
    if (static_cast<double>(mass) >= least) candidates.push_back({static_cast<Token>(i), logits[i], mass});
  }
  if (by_top_p) keep_top_p(candidates, params.top_p * total, scratch().selection);
  if (params.min_p > 0) keep_min_p(candidates, params.min_p);
  if (params.top_k > 0) keep_top_k(candidates, static_cast<std::size_t>(params.top_k), scratch().selection);
  return candidates;
}

/// The log-probability of the chosen token and of the num_top likeliest, at temperature 1.
void fill_logprobs(const Kernels& kernels, std::span<const float> logits, int num_top, SampledToken& sampled) {
  const float top = checked_max(logits);
  compute_masses(kernels, logits, top, 1.0f, scratch().masses);
  const double log_total = std::log(std::ldexp(static_cast<double>(sum(scratch().masses)), -kMassBits));
  const auto logprob = [&](Token token) {
    return static_cast<float>(double{logits[static_cast<std::size_t>(token)]} - double{top} - log_total);
  };
  sampled.logprob = logprob(sampled.token);

  std::vector<Token> tokens(logits.size()), best(std::min(logits.size(), static_cast<std::size_t>(num_top)));
  std::iota(tokens.begin(), tokens.end(), 0);
  std::partial_sort_copy(tokens.begin(), tokens.end(), best.begin(), best.end(), [&](Token a, Token b) {
    const float x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
    return x > y || (x == y && a < b);
  });
  for (const Token token : best) sampled.top.push_back({token, logprob(token)});
}

/// Throws Error(kInvalidArgument) naming the field that is out of range.
void validate(const SamplingParams& p) {
  const auto require = [](bool ok, const char* field, const char* expected, double got) {
    if (!ok) throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: expected {}, got {}", field, expected, got));
  };
  require(p.temperature >= 0 && std::isfinite(p.temperature), "temperature", "a number of at least 0", p.temperature);
  require(p.top_p >= 0 && p.top_p <= 1, "top_p", "a number from 0 to 1", p.top_p);
  require(p.min_p >= 0 && p.min_p <= 1, "min_p", "a number from 0 to 1", p.min_p);
  require(p.top_k >= 0, "top_k", "a count of at least 0", p.top_k);
  require(p.repetition_penalty > 0 && std::isfinite(p.repetition_penalty), "repetition_penalty", "a number above 0",
          p.repetition_penalty);
  require(std::isfinite(p.presence_penalty), "presence_penalty", "a finite number", p.presence_penalty);
  require(std::isfinite(p.frequency_penalty), "frequency_penalty", "a finite number", p.frequency_penalty);
  require(p.repetition_context >= 0, "repetition_context", "a count of at least 0", p.repetition_context);
  require(p.presence_context >= 0, "presence_context", "a count of at least 0", p.presence_context);
  require(p.frequency_context >= 0, "frequency_context", "a count of at least 0", p.frequency_context);
  require(p.logprobs.value_or(0) >= 0, "logprobs", "a count of at least 0", p.logprobs.value_or(0));
  for (const auto& [token, bias] : p.logit_bias) {
    require(token >= 0, "logit_bias", "token ids of at least 0", token);
    require(bias < std::numeric_limits<float>::infinity(), "logit_bias", "a finite number or -infinity", bias);
  }
}

}  // namespace

CounterRng::CounterRng(std::uint64_t seed) : key_(splitmix64(seed)) {}

std::uint64_t CounterRng::next() { return splitmix64(key_ + kGoldenRatio64 * ++count_); }

std::uint64_t CounterRng::below(std::uint64_t bound) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>(Wide{next()} * bound >> 64);
}

Sampler::Sampler(const SamplingParams& params, std::string_view isa)
    : kernels_(&select_kernels(isa)),
      params_(params),
      rng_(params.seed),
      penalises_(params.repetition_penalty != 1 || params.presence_penalty != 0 || params.frequency_penalty != 0) {
  validate(params_);
}

void Sampler::observe(std::span<const Token> tokens) {
  if (penalises_) seen_.insert(seen_.end(), tokens.begin(), tokens.end());
}

SampledToken Sampler::sample(std::span<const float> logits, std::span<const std::uint64_t> allowed) {
  if (logits.empty() || logits.size() > kMaxVocab) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("logits: expected 1 to {} tokens to choose from, got {}", kMaxVocab, logits.size()));
  }
  SampledToken sampled;
  if (penalises_ || !params_.logit_bias.empty() || !allowed.empty()) {
    std::vector<float>& changed = scratch().logits;
    changed.assign(logits.begin(), logits.end());
    apply_bias_and_penalties(changed);
    if (!allowed.empty()) forbid_others(changed, allowed);
    sampled.token = choose(changed);
  } else {
    sampled.token = choose(logits);
  }
  if (params_.logprobs) fill_logprobs(*kernels_, logits, *params_.logprobs, sampled);
  observe({&sampled.token, 1});
  return sampled;
}

SampledToken Sampler::score(std::span<const float> logits, Token token, int num_top) const {
  SampledToken scored{.token = token, .logprob = 0, .top = {}};
  fill_logprobs(*kernels_, logits, num_top, scored);
  return scored;
}

void Sampler::apply_bias_and_penalties(std::span<float> logits) const {
  for (const auto& [token, bias] : params_.logit_bias) {
    if (static_cast<std::size_t>(token) >= logits.size()) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("logit_bias: expected tokens below {}, got {}", logits.size(), token));
    }
    logits[static_cast<std::size_t>(token)] += bias;
  }

  // Calls change(logit) for every token of the last `context` seen: each time, or the first time only.
  std::vector<bool> done;
  const auto for_each_seen = [&](int context, bool once, auto&& change) {
    const auto count = std::min(seen_.size(), context == 0 ? seen_.size() : static_cast<std::size_t>(context));
    done.assign(once ? logits.size() : 0, false);
    for (auto it = seen_.end() - static_cast<std::ptrdiff_t>(count); it != seen_.end(); ++it) {
      const auto token = static_cast<std::size_t>(*it);
      if (token >= logits.size() || (once && done[token])) continue;
      if (once) done[token] = true;
      change(logits[token]);
    }
  };
  if (params_.repetition_penalty != 1) {
    for_each_seen(params_.repetition_context, true,
                  [p = params_.repetition_penalty](float& x) { x = x < 0 ? x * p : x / p; });
  }
  if (params_.presence_penalty != 0) {
    for_each_seen(params_.presence_context, true, [p = params_.presence_penalty](float& x) { x -= p; });
  }
  if (params_.frequency_penalty != 0) {
    for_each_seen(params_.frequency_context, false, [p = params_.frequency_penalty](float& x) { x -= p; });
  }
}

Token Sampler::choose(std::span<const float> logits) {
  const float top = checked_max(logits);
  if (params_.temperature == 0) {
    return static_cast<Token>(std::find(logits.begin(), logits.end(), top) - logits.begin());
  }
  std::vector<std::uint64_t>& masses = scratch().masses;
  const bool cuts = (params_.top_p > 0 && params_.top_p < 1) || params_.min_p > 0 || params_.top_k > 0;
  if (!cuts) {
    compute_masses(*kernels_, logits, top, params_.temperature, masses);
    return static_cast<Token>(place_of(rng_.below(sum(masses)), masses));
  }
  const std::vector<Candidate>& candidates = cut(*kernels_, params_, logits, top);
  std::vector<float>& kept = scratch().kept;
  kept.clear();
  for (const Candidate& c : candidates) kept.push_back(c.logit);
  compute_masses(*kernels_, kept, top, params_.temperature, masses);
  return candidates[place_of(rng_.below(sum(masses)), masses)].token;
}

}  // namespace kl
