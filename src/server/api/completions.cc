#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "server/api/endpoints.h"
#include "server/api/fields.h"
#include "server/api/generate_options.h"
#include "server/api/prompts.h"
#include "server/api/reply.h"
#include "server/api/text_logprobs.h"
#include "server/api/tools.h"
#include "server/api/turn.h"
#include "server/api/usage.h"

namespace kl {
namespace {

struct CompletionRequest {
  std::vector<EngineRequest> prompts;
  int n = 1;
  bool stream = false;
  bool include_usage = false;
  bool echo = false;
  bool logprobs = false;
  bool timings_per_token = false;
  bool return_progress = false;
};

CompletionRequest read_request(const ApiContext& context, const Fields& body) {
  check_model_name(context, body.text("model").value_or(""));
  CompletionRequest request;
  EngineRequest engine = read_engine_request(context, body);
  request.stream = *body.boolean("stream");
  if (const auto options = body.object("stream_options", Body::kStreamOptions)) {
    request.include_usage = *options->boolean("include_usage");
  }
  request.timings_per_token = *body.boolean("timings_per_token");
  request.return_progress = *body.boolean("return_progress");
  request.echo = *body.boolean("echo");
  request.n = engine.n = static_cast<int>(*body.integer("n"));
  if (body.integer("best_of").value_or(request.n) != request.n) body.refuse("best_of", "expected the same as n");
  if (const auto top = body.integer("logprobs")) {
    request.logprobs = true;
    engine.options.sampling.logprobs = static_cast<int>(*top);
    engine.prompt_logprobs = request.echo;
    engine.score_from = *body.integer("score_from");
  }
  engine.options.grammar = read_text_format(*context.grammars, body, {});
  const auto max_tokens = read_alias(body, {"max_tokens", "n_predict"});
  for (Prompt& prompt : read_prompts(*context.tokenizer, body, false, false)) {
    request.prompts.push_back(engine);
    set_prompt(context, request.prompts.back(), std::move(prompt.ids), max_tokens, prompt.path);
  }
  return request;
}

/// The dialect of /v1/completions.
class CompletionReply final : public Reply {
 public:
  CompletionReply(const ApiContext& context, std::shared_ptr<Exchange> exchange, const CompletionRequest& request)
      : Reply(context, std::move(exchange), request.stream, ErrorSchema::kOpenAi),
        request_(request),
        scores_(request.prompts.size()) {
    choices_.resize(request.prompts.size() * static_cast<std::size_t>(request.n), Choice(*context.tokenizer));
  }

 private:
  struct Choice {
    explicit Choice(const Tokenizer& tokenizer) : logprobs(tokenizer) {}
    Tally tally;
    TextLogprobs logprobs;
    std::string text;  // of a stream: what was not sent yet
    bool begun = false;
    FinishReason reason = FinishReason::kStop;
  };

  bool on_event(std::size_t prompt, const EngineEvent& event) override {
    const std::size_t index = prompt * static_cast<std::size_t>(request_.n) + static_cast<std::size_t>(event.index);
    Choice& choice = choices_[index];
    choice.tally.take(event);
    if (event.kind == EngineEvent::Kind::kPrompt) {
      if (!event.prompt_logprobs.empty()) scores_[prompt] = event.prompt_logprobs;
      if (stream() && request_.return_progress) {
        OrderedJson progress = chunk(index, nullptr);
        progress["prompt_progress"] = choice.tally.progress();
        send(progress);
      }
      return false;
    }
    if (!std::exchange(choice.begun, true) && request_.echo) echo(prompt, choice);
    choice.text += event.text;
    if (request_.logprobs) choice.logprobs.add(event.logprobs, false);
    const bool over = event.kind == EngineEvent::Kind::kFinished;
    if (over) choice.reason = event.reason;
    if (stream() && !choice.text.empty()) {
      OrderedJson json = chunk(index, nullptr);
      if (request_.timings_per_token) json["timings"] = choice.tally.timings();
      send(json);
    }
    if (stream() && over) {
      OrderedJson last = chunk(index, openai_finish_reason(choice.reason, false));
      if (!request_.include_usage) last["timings"] = choice.tally.timings();
      send(last);
    }
    return over;
  }

  /// The prompt as the beginning of the text.
  void echo(std::size_t prompt, Choice& choice) {
    const EngineRequest& asked = request_.prompts[prompt];
    choice.text = context().tokenizer->decode(asked.prompt);
    if (!request_.logprobs) return;
    const std::int64_t unscored = std::min(asked.score_from, std::ssize(asked.prompt));
    for (std::int64_t i = 0; i < unscored; ++i) choice.logprobs.add_unscored(asked.prompt[static_cast<std::size_t>(i)]);
    choice.logprobs.add(scores_[prompt], true);
  }

  void on_over() override {
    if (stream()) {
      if (request_.include_usage) {
        OrderedJson last = envelope();
        last["choices"] = OrderedJson::array();
        last["usage"] = usage();
        last["timings"] = choices_[0].tally.timings();
        send(last);
      }
      return send_done();
    }
    OrderedJson json = envelope();
    json["choices"] = OrderedJson::array();
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      json["choices"].push_back(choice_json(i, openai_finish_reason(choices_[i].reason, false)));
    }
    json["usage"] = usage();
    json["timings"] = choices_[0].tally.timings();
    reply(json);
  }

  OrderedJson envelope() const {
    return {{"id", id_},
            {"object", "text_completion"},
            {"created", created_},
            {"model", context().options.model_name},
            {"system_fingerprint", fingerprint()}};
  }

  /// A choice with its text and scores, which are taken from it.
  OrderedJson choice_json(std::size_t index, OrderedJson finish_reason) {
    Choice& choice = choices_[index];
    return {{"index", index},
            {"text", std::exchange(choice.text, {})},
            {"logprobs", request_.logprobs ? choice.logprobs.take() : OrderedJson()},
            {"finish_reason", std::move(finish_reason)}};
  }

  OrderedJson chunk(std::size_t index, OrderedJson finish_reason) {
    OrderedJson json = envelope();
    json["choices"] = OrderedJson::array();
    json["choices"].push_back(choice_json(index, std::move(finish_reason)));
    if (request_.include_usage) json["usage"] = nullptr;
    return json;
  }

  OrderedJson usage() const {
    TokenCounts total;
    CacheMiss miss = CacheMiss::kNone;
    for (const EngineRequest& prompt : request_.prompts)
      total.prompt += static_cast<std::int64_t>(prompt.prompt.size());
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      total.generated += choices_[i].tally.tokens.generated;
      if (i % static_cast<std::size_t>(request_.n) != 0) continue;  // a prompt counts once
      total.cached += choices_[i].tally.tokens.cached;
      if (miss == CacheMiss::kNone) miss = choices_[i].tally.miss;
    }
    return openai_usage(total, miss);
  }

  const CompletionRequest request_;
  std::vector<std::vector<SampledToken>> scores_;  // of each prompt, from its token score_from on
  const std::string id_ = new_id("cmpl-");
  const std::int64_t created_ = unix_time();
  std::vector<Choice> choices_;
};

}  // namespace

Handler completion_handler(const ApiContext& context) {
  return [&context](const HttpRequest& http) -> Answer {
    const OrderedJson json = parse_body(http.body);
    const auto request = std::make_shared<CompletionRequest>(
        read_request(context, Fields(json, Body::kCompletion, "", context.options.strict)));
    return [&context, request](const std::shared_ptr<Exchange>& exchange) {
      std::make_shared<CompletionReply>(context, exchange, *request)->start(request->prompts);
    };
  };
}

}  // namespace kl
