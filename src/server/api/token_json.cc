#include "server/api/token_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/utf8.h"

namespace kl {
namespace {

OrderedJson one(const Tokenizer& tokenizer, Token token, double logprob, bool with_ids) {
  OrderedJson json = OrderedJson::object();
  if (with_ids) json["id"] = token;
  json["token"] = tokenizer.decode(std::span(&token, 1));
  json["logprob"] = writable(logprob);
  json["bytes"] = bytes_json(tokenizer, token);
  return json;
}

}  // namespace

OrderedJson bytes_json(const Tokenizer& tokenizer, Token token) {
  OrderedJson bytes = OrderedJson::array();
  for (const char c : tokenizer.bytes_of(token)) bytes.push_back(static_cast<unsigned char>(c));
  return bytes;
}

OrderedJson token_json(const Tokenizer& tokenizer, const SampledToken& token, bool with_ids) {
  OrderedJson json = one(tokenizer, token.token, token.logprob, with_ids);
  json["top_logprobs"] = OrderedJson::array();
  for (const TokenLogprob& top : token.top) {
    json["top_logprobs"].push_back(one(tokenizer, top.token, top.logprob, with_ids));
  }
  return json;
}

OrderedJson tokens_json(const Tokenizer& tokenizer, const std::vector<SampledToken>& tokens, bool with_ids) {
  OrderedJson array = OrderedJson::array();
  for (const SampledToken& token : tokens) {
    if (!tokenizer.is_skipped(token.token)) array.push_back(token_json(tokenizer, token, with_ids));
  }
  return array;
}

std::string distinct_text(const Tokenizer& tokenizer, Token token) {
  const std::string_view bytes = tokenizer.bytes_of(token);
  if (well_formed_prefix(bytes) == bytes.size()) return std::string(bytes);
  std::string text = "bytes:";
  for (const char c : bytes) text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return text;
}

}  // namespace kl
