#pragma once
#include <string>
#include <vector>

#include "server/api/context.h"
#include "server/api/fields.h"

namespace kl {

/// A prompt that is no conversation.
struct Prompt {
  std::vector<Token> ids;
  std::string path;  ///< where it stands in the request
};

/// The prompts of `body`: a text, ids, a mixture, an object with prompt_string, or an array of these.  Text is ordinary
/// text unless `parse_special`.  `mixed`: whether llama.cpp's forms, mixtures and objects, are allowed.
/// Throws ApiError 400 naming the element.
std::vector<Prompt> read_prompts(const Tokenizer& tokenizer, const Fields& body, bool mixed, bool parse_special);

/// Did the request give an array of prompts (llama.cpp answers that with an array)?
bool has_many_prompts(const Fields& body);

}  // namespace kl
