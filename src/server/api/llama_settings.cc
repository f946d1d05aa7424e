#include "server/api/llama_settings.h"

#include <nlohmann/json.hpp>

namespace kl {

namespace {

/// A bias of null is that of a token that cannot be drawn: minus infinity, which JSON has not.
OrderedJson bias_json(const Tokenizer& tokenizer, const GenerateOptions& options) {
  OrderedJson list = OrderedJson::array();
  for (const auto& [token, bias] : options.sampling.logit_bias) list.push_back({{"bias", bias}, {"token", token}});
  if (!options.ignore_stop_tokens) return list;
  for (const Token stop : tokenizer.stop_tokens()) list.push_back({{"bias", nullptr}, {"token", stop}});
  return list;
}

}  // namespace

OrderedJson llama_settings(const Tokenizer& tokenizer, const GenerateOptions& options, std::int64_t n_predict,
                           bool stream) {
  const SamplingParams& s = options.sampling;
  // -1 is llama.cpp's word for "all", which the sampler calls 0.
  const int last_n = s.repetition_context == 0 ? -1 : s.repetition_context;
  return {{"n_predict", n_predict},
          {"max_tokens", n_predict},
          {"seed", s.seed},
          {"temperature", s.temperature},
          {"top_k", s.top_k},
          {"top_p", s.top_p},
          {"min_p", s.min_p},
          {"repeat_last_n", last_n},
          {"repeat_penalty", s.repetition_penalty},
          {"presence_penalty", s.presence_penalty},
          {"frequency_penalty", s.frequency_penalty},
          {"stop", options.stop},
          {"ignore_eos", options.ignore_stop_tokens},
          {"logit_bias", bias_json(tokenizer, options)},
          {"stream", stream},
          {"n_probs", s.logprobs.value_or(0)},
          {"samplers", {"penalties", "top_p", "min_p", "top_k", "temperature"}}};
}

}  // namespace kl
