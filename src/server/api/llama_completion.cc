#include <nlohmann/json.hpp>
#include <utility>

#include "server/api/endpoints.h"
#include "server/api/fields.h"
#include "server/api/generate_options.h"
#include "server/api/llama_settings.h"
#include "server/api/prompts.h"
#include "server/api/reply.h"
#include "server/api/token_json.h"
#include "server/api/tools.h"
#include "server/api/usage.h"

namespace kl {
namespace {

struct LlamaRequest {
  std::vector<EngineRequest> prompts;
  int n = 1;
  std::int64_t n_predict = -1;  ///< as asked for
  bool many = false;            ///< the reply is an array
  bool stream = false;
  bool return_tokens = false;
  bool timings_per_token = false;
  bool return_progress = false;
  int n_probs = 0;
};

LlamaRequest read_request(const ApiContext& context, const Fields& body) {
  check_model_name(context, body.text("model").value_or(""));
  LlamaRequest request;
  EngineRequest engine = read_engine_request(context, body);
  request.n = engine.n = static_cast<int>(*body.integer("n_cmpl"));
  request.n_predict = read_alias(body, {"n_predict", "max_tokens"}).value_or(-1);
  request.stream = *body.boolean("stream");
  request.return_tokens = *body.boolean("return_tokens");
  request.timings_per_token = *body.boolean("timings_per_token");
  request.return_progress = *body.boolean("return_progress");
  request.n_probs = static_cast<int>(*body.integer("n_probs"));
  if (request.n_probs > 0) engine.options.sampling.logprobs = request.n_probs;
  engine.options.grammar = read_text_format(*context.grammars, body, {});
  request.many = has_many_prompts(body) || request.n > 1;
  for (Prompt& prompt : read_prompts(*context.tokenizer, body, true, *body.boolean("parse_special"))) {
    request.prompts.push_back(engine);
    set_prompt(context, request.prompts.back(), std::move(prompt.ids), request.n_predict, prompt.path);
  }
  return request;
}

/// The dialect of llama.cpp's /completion.
class LlamaReply final : public Reply {
 public:
  LlamaReply(const ApiContext& context, std::shared_ptr<Exchange> exchange, const LlamaRequest& request)
      : Reply(context, std::move(exchange), request.stream, ErrorSchema::kOpenAi),
        request_(request),
        choices_(request.prompts.size() * static_cast<std::size_t>(request.n)) {}

 private:
  struct Choice {
    Tally tally;
    std::string text;
    std::vector<Token> ids;
    std::vector<SampledToken> scores;
    FinishReason reason = FinishReason::kStop;
    std::string stop_string;
  };

  bool on_event(std::size_t prompt, const EngineEvent& event) override {
    const std::size_t index = prompt * static_cast<std::size_t>(request_.n) + static_cast<std::size_t>(event.index);
    Choice& choice = choices_[index];
    choice.tally.take(event);
    if (event.kind == EngineEvent::Kind::kPrompt) {
      if (stream() && request_.return_progress) {
        OrderedJson progress = piece(index, {}, {});
        progress["prompt_progress"] = choice.tally.progress();
        send(progress);
      }
      return false;
    }
    choice.text += event.text;
    for (const Token id : event.ids) {
      if (!context().tokenizer->is_skipped(id)) choice.ids.push_back(id);
    }
    choice.scores.insert(choice.scores.end(), event.logprobs.begin(), event.logprobs.end());
    const bool over = event.kind == EngineEvent::Kind::kFinished;
    if (over) {
      choice.reason = event.reason;
      choice.stop_string = event.stop_string;
    }
    if (stream()) send_event(index, event);
    return over;
  }

  void send_event(std::size_t index, const EngineEvent& event) {
    Choice& choice = choices_[index];
    const std::vector<Token> ids = std::exchange(choice.ids, {});
    const std::vector<SampledToken> scores = std::exchange(choice.scores, {});
    if (!ids.empty() || !event.text.empty()) {
      OrderedJson json = piece(index, event.text, ids);
      if (request_.n_probs > 0) json["completion_probabilities"] = tokens_json(*context().tokenizer, scores, true);
      if (request_.timings_per_token) json["timings"] = choice.tally.timings();
      send(json);
    }
    if (event.kind == EngineEvent::Kind::kFinished) send(whole(index, {}));
  }

  void on_over() override {
    if (stream()) return;
    OrderedJson array = OrderedJson::array();
    for (std::size_t i = 0; i < choices_.size(); ++i) array.push_back(whole(i, choices_[i].text));
    reply(request_.many ? array : array[0]);
  }

  OrderedJson piece(std::size_t index, std::string_view text, const std::vector<Token>& ids) const {
    const Tally& tally = choices_[index].tally;
    return {{"index", index},
            {"content", text},
            {"tokens", ids},
            {"stop", false},
            {"id_slot", request_.prompts[0].slot},
            {"tokens_predicted", tally.tokens.generated},
            {"tokens_evaluated", tally.tokens.prompt}};
  }

  OrderedJson whole(std::size_t index, std::string_view text) const {
    const Choice& choice = choices_[index];
    const EngineRequest& engine = request_.prompts[index / static_cast<std::size_t>(request_.n)];
    OrderedJson json = piece(index, text, request_.return_tokens ? choice.ids : std::vector<Token>());
    json["stop"] = true;
    json["model"] = context().options.model_name;
    json["generation_settings"] =
        llama_settings(*context().tokenizer, engine.options, request_.n_predict, request_.stream);
    json["prompt"] = context().tokenizer->decode(engine.prompt);
    json["has_new_line"] = choice.text.find('\n') != std::string::npos;
    const std::int64_t length = choice.tally.tokens.prompt + choice.tally.tokens.generated;
    json["truncated"] = choice.reason == FinishReason::kLength && length >= context().backend->options().ctx_size;
    json["stop_type"] = choice.reason != FinishReason::kStop ? "limit" : choice.stop_string.empty() ? "eos" : "word";
    json["stopping_word"] = choice.stop_string;
    json["tokens_cached"] = choice.tally.tokens.cached;
    json["cache_miss_reason"] = miss_reason(choice.tally.miss);
    if (request_.n_probs > 0 && !stream()) {
      json["completion_probabilities"] = tokens_json(*context().tokenizer, choice.scores, true);
    }
    json["timings"] = choice.tally.timings();
    return json;
  }

  const LlamaRequest request_;
  std::vector<Choice> choices_;
};

}  // namespace

Handler llama_completion_handler(const ApiContext& context) {
  return [&context](const HttpRequest& http) -> Answer {
    const OrderedJson json = parse_body(http.body);
    const auto request = std::make_shared<LlamaRequest>(
        read_request(context, Fields(json, Body::kLlamaCompletion, "", context.options.strict)));
    return [&context, request](const std::shared_ptr<Exchange>& exchange) {
      std::make_shared<LlamaReply>(context, exchange, *request)->start(request->prompts);
    };
  };
}

}  // namespace kl
