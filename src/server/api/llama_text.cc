#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "server/api/conversation.h"
#include "server/api/endpoints.h"
#include "server/api/fields.h"
#include "server/api/generate_options.h"
#include "server/api/reply.h"
#include "server/api/token_json.h"
#include "server/api/tools.h"

namespace kl {
namespace {

/// A token's text, or its bytes if they are no text: llama.cpp's `piece`.
OrderedJson piece_of(const Tokenizer& tokenizer, Token token) {
  const std::string text = distinct_text(tokenizer, token);
  if (text == tokenizer.bytes_of(token)) return text;
  return bytes_json(tokenizer, token);
}

}  // namespace

Handler tokenize_handler(const ApiContext& context) {
  return [&context](const HttpRequest& http) {
    const OrderedJson json = parse_body(http.body);
    const Fields body(json, Body::kTokenize, "", context.options.strict);
    const SpecialText special = *body.boolean("parse_special") ? SpecialText::kControl : SpecialText::kOrdinary;
    const std::vector<Token> ids = context.tokenizer->encode(*body.text("content"), special);
    OrderedJson tokens = OrderedJson::array();
    for (const Token id : ids) {
      if (*body.boolean("with_pieces")) {
        tokens.push_back({{"id", id}, {"piece", piece_of(*context.tokenizer, id)}});
      } else {
        tokens.push_back(id);
      }
    }
    return answer_with({{"tokens", std::move(tokens)}});
  };
}

Handler detokenize_handler(const ApiContext& context) {
  return [&context](const HttpRequest& http) {
    const OrderedJson json = parse_body(http.body);
    const Fields body(json, Body::kDetokenize, "", context.options.strict);
    const OrderedJson& tokens = *body.find("tokens");
    std::vector<Token> ids;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      ids.push_back(read_token(*context.tokenizer, tokens[i], fmt::format("tokens[{}]", i)));
    }
    return answer_with({{"content", context.tokenizer->decode(ids)}});
  };
}

Handler apply_template_handler(const ApiContext& context) {
  return [&context](const HttpRequest& http) {
    const OrderedJson json = parse_body(http.body);
    const Fields body(json, Body::kApplyTemplate, "", context.options.strict);
    const Tools tools = read_chat_tools(body);
    const Conversation conversation = read_chat_messages(body);
    return answer_with({{"prompt", render_chat(context, conversation, tools, read_prompt_options(body))}});
  };
}

}  // namespace kl
