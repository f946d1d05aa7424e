#include "server/api/llama_settings.h"

#include <nlohmann/json.hpp>

namespace kl {

OrderedJson llama_settings(const GenerateOptions& options, std::int64_t n_predict, bool stream) {
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
          {"stream", stream},
          {"n_probs", s.logprobs.value_or(0)},
          {"samplers", {"penalties", "top_p", "min_p", "top_k", "temperature"}}};
}

}  // namespace kl
