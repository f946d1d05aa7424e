#include "server/api/generate_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "server/exchange/api_error.h"

namespace kl {
namespace {

constexpr std::size_t kMaxStopBytes = 256;
constexpr float kForbidden = -1e9f;  // not minus infinity: a grammar may leave nothing else

void read_stop(const Fields& body, std::string_view name, std::vector<std::string>& stop) {
  const OrderedJson* value = body.find(name);
  if (!value) return;
  const auto add = [&](const OrderedJson& text, const std::string& path) {
    if (!text.is_string()) refuse_field(path, "expected a string, got " + describe(text));
    const std::string& bytes = text.get_ref<const std::string&>();
    if (bytes.empty() || bytes.size() > kMaxStopBytes) {
      refuse_field(path, fmt::format("expected 1 to {} bytes, got {}", kMaxStopBytes, bytes.size()));
    }
    stop.push_back(bytes);
  };
  if (!value->is_array()) return add(*value, body.path_of(name));
  for (std::size_t i = 0; i < value->size(); ++i) add((*value)[i], fmt::format("{}[{}]", body.path_of(name), i));
}

float read_bias(const OrderedJson& value, const std::string& path) {
  if (value.is_boolean() && !value.get<bool>()) return kForbidden;
  if (!value.is_number() || std::abs(value.get<double>()) > 100) {
    refuse_field(path, "expected a number from -100 to 100, got " + describe(value));
  }
  return value.get<float>();
}

/// Adds one bias for an id, or for every token of a text.  `vocab`: ids that have a logit.
void add_bias(const Tokenizer& tokenizer, int vocab, std::string_view key, float bias, const std::string& path,
              SamplingParams& sampling) {
  Token id = 0;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
  if (error == std::errc() && end == key.data() + key.size()) {
    if (id < 0 || id >= vocab) refuse_field(path, fmt::format("expected a token from 0 to {}, got {}", vocab - 1, id));
    sampling.logit_bias.emplace_back(id, bias);
    return;
  }
  if (key.size() > kMaxStopBytes) refuse_field(path, fmt::format("expected at most {} bytes of text", kMaxStopBytes));
  for (const Token token : tokenizer.encode(key)) sampling.logit_bias.emplace_back(token, bias);
}

void read_logit_bias(const ApiContext& context, const Fields& body, SamplingParams& sampling) {
  const Tokenizer& tokenizer = *context.tokenizer;
  const int vocab = std::min(tokenizer.vocab_size(), context.backend->args().vocab_size);
  const OrderedJson* value = body.find("logit_bias");
  if (!value) return;
  const std::string path = body.path_of("logit_bias");
  if (value->is_object()) {
    for (const auto& [key, bias] : value->items()) {
      const std::string at = fmt::format("{}.{}", path, printable(key, 32));
      add_bias(tokenizer, vocab, key, read_bias(bias, at), at, sampling);
    }
    return;
  }
  for (std::size_t i = 0; i < value->size(); ++i) {
    const OrderedJson& pair = (*value)[i];
    const std::string at = fmt::format("{}[{}]", path, i);
    if (!pair.is_array() || pair.size() != 2 || !(pair[0].is_number_integer() || pair[0].is_string())) {
      refuse_field(at, "expected [token or text, bias], got " + describe(pair));
    }
    const std::string key = pair[0].is_string() ? pair[0].get<std::string>() : to_text(pair[0]);
    add_bias(tokenizer, vocab, key, read_bias(pair[1], at), at, sampling);
  }
}

void read_sampling(const ApiContext& context, const Fields& body, SamplingParams& sampling) {
  const auto read = [&body](std::string_view name, float& value) {
    if (!body.knows(name)) return;
    if (const std::optional<double> number = body.number(name)) value = static_cast<float>(*number);
  };
  read("temperature", sampling.temperature);
  read("top_p", sampling.top_p);
  read("min_p", sampling.min_p);
  read("presence_penalty", sampling.presence_penalty);
  read("frequency_penalty", sampling.frequency_penalty);
  read("repeat_penalty", sampling.repetition_penalty);
  read("repetition_penalty", sampling.repetition_penalty);
  if (const auto top_k = body.integer("top_k")) sampling.top_k = static_cast<int>(std::max<std::int64_t>(*top_k, 0));
  const auto seed = body.integer("seed");
  sampling.seed = seed && *seed != -1 ? static_cast<std::uint64_t>(*seed) : new_seed();

  const std::int64_t last_n = body.knows("repeat_last_n") ? *body.integer("repeat_last_n") : -1;
  const int window = static_cast<int>(std::max<std::int64_t>(last_n, 0));  // -1: all, which the sampler calls 0
  sampling.repetition_context = sampling.presence_context = sampling.frequency_context = window;
  if (last_n == 0) {
    sampling.repetition_penalty = 1;
    sampling.presence_penalty = sampling.frequency_penalty = 0;
  }
  if (body.knows("logit_bias")) read_logit_bias(context, body, sampling);
}

}  // namespace

EngineRequest read_engine_request(const ApiContext& context, const Fields& body) {
  EngineRequest request;
  request.options.sampling = context.options.sampling;
  read_sampling(context, body, request.options.sampling);
  read_stop(body, body.knows("stop") ? "stop" : "stop_sequences", request.options.stop);
  if (body.knows("ignore_eos")) request.options.ignore_stop_tokens = *body.boolean("ignore_eos");
  request.cache_prompt = *body.boolean("cache_prompt");
  if (body.knows("id_slot")) {
    request.slot = static_cast<int>(*body.integer("id_slot"));
    const int parallel = context.backend->options().parallel;
    if (request.slot >= parallel) {
      body.refuse("id_slot", fmt::format("expected a slot from 0 to {}, got {}", parallel - 1, request.slot));
    }
  }
  if (context.options.time_limit.count() > 0) {
    request.deadline = std::chrono::steady_clock::now() + context.options.time_limit;
  }
  return request;
}

std::optional<std::int64_t> read_alias(const Fields& body, std::initializer_list<std::string_view> names) {
  std::optional<std::int64_t> value, fallback;
  for (const std::string_view name : names) {
    if (!body.knows(name)) continue;
    const std::optional<std::int64_t> here = body.integer(name);
    if (!body.find(name)) {
      if (!fallback) fallback = here;
    } else if (value && *value != *here) {
      body.refuse(name, fmt::format("expected the same as its other names, {}, got {}", *value, *here));
    } else {
      value = here;
    }
  }
  return value ? value : fallback;
}

void set_prompt(const ApiContext& context, EngineRequest& request, std::vector<Token> prompt,
                std::optional<std::int64_t> max_tokens, const std::string& field) {
  if (prompt.empty()) refuse_field(field, "expected at least one token, got none");
  const auto length = static_cast<std::int64_t>(prompt.size());
  const std::int64_t ctx_size = context.backend->options().ctx_size;
  const std::int64_t room = ctx_size - length;
  const bool wants_text = max_tokens != 0;
  if (room < (wants_text ? 1 : 0)) {
    throw ApiError{.message = fmt::format("{}: expected at most {} tokens, room for an answer included, got {}", field,
                                          ctx_size, length),
                   .param = field,
                   .code = "context_length_exceeded",
                   .prompt_tokens = length,
                   .ctx_size = ctx_size};
  }
  request.prompt = std::move(prompt);
  request.options.max_tokens = max_tokens && *max_tokens >= 0 ? std::min(*max_tokens, room) : room;
}

Token read_token(const Tokenizer& tokenizer, const OrderedJson& value, const std::string& path) {
  const std::int64_t last = tokenizer.vocab_size() - 1;
  if (!value.is_number_integer() || value > last || value < 0) {
    refuse_field(path, fmt::format("expected a token from 0 to {}, got {}", last, describe(value)));
  }
  return value.get<Token>();
}

}  // namespace kl
