#include "server/api/text_logprobs.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/utf8.h"
#include "server/api/token_json.h"

namespace kl {

TextLogprobs::TextLogprobs(const Tokenizer& tokenizer) : tokenizer_(&tokenizer), decoder_(tokenizer) {}

void TextLogprobs::add_place(Token token, std::optional<SampledToken> score) {
  pending_.push_back({token, characters_, std::move(score)});
  characters_ += static_cast<std::ptrdiff_t>(count_characters(decoder_.push(token)));
}

void TextLogprobs::add_unscored(Token token) { add_place(token, std::nullopt); }

void TextLogprobs::add(const std::vector<SampledToken>& tokens, bool with_control) {
  for (const SampledToken& token : tokens) {
    if (with_control || !tokenizer_->is_skipped(token.token)) add_place(token.token, token);
  }
}

OrderedJson TextLogprobs::take() {
  OrderedJson tokens = OrderedJson::array(), logprobs = tokens, tops = tokens, offsets = tokens;
  for (const Place& place : std::exchange(pending_, {})) {
    tokens.push_back(distinct_text(*tokenizer_, place.token));
    offsets.push_back(place.offset);
    logprobs.push_back(place.score ? OrderedJson(writable(place.score->logprob)) : OrderedJson());
    OrderedJson top;
    if (place.score) {
      top = OrderedJson::object();
      for (const TokenLogprob& other : place.score->top) {
        top[distinct_text(*tokenizer_, other.token)] = writable(other.logprob);
      }
      top[distinct_text(*tokenizer_, place.token)] = writable(place.score->logprob);
    }
    tops.push_back(std::move(top));
  }
  return {{"tokens", tokens}, {"token_logprobs", logprobs}, {"top_logprobs", tops}, {"text_offset", offsets}};
}

}  // namespace kl
