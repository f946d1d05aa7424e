#pragma once
#include <string>
#include <vector>

#include "kl/sampler.h"
#include "kl/tokenizer.h"
#include "server/api/json.h"

namespace kl {

/// OpenAI's form of the log-probability of chat tokens: {"token", "logprob", "bytes", "top_logprobs"}; with `with_ids`
/// also llama.cpp's "id".
OrderedJson token_json(const Tokenizer& tokenizer, const SampledToken& token, bool with_ids);

/// The array of them for tokens that are text: control tokens that a text leaves out are left out here.
OrderedJson tokens_json(const Tokenizer& tokenizer, const std::vector<SampledToken>& tokens, bool with_ids);

/// The bytes of a token as an array of numbers.
OrderedJson bytes_json(const Tokenizer& tokenizer, Token token);

/// The text of a token, or "bytes:\xe2\x80" if its bytes are no text: what tells all tokens apart as keys of an object.
std::string distinct_text(const Tokenizer& tokenizer, Token token);

}  // namespace kl
