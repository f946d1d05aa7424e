#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "kl/engine.h"
#include "server/api/context.h"
#include "server/api/fields.h"

namespace kl {

/// What every body that makes text says about sampling, stop strings, seed, slot and cache.  The prompt is left empty,
/// max_tokens and logprobs as they are by default.
/// Throws ApiError 400 naming the field.
EngineRequest read_engine_request(const ApiContext& context, const Fields& body);

/// The first of `names` that is there; two that disagree are refused.
std::optional<std::int64_t> read_alias(const Fields& body, std::initializer_list<std::string_view> names);

/// Puts a prompt into a request and bounds it by the context; `max_tokens` below 0 or nothing: as many as fit.
/// Throws ApiError 400 for an empty prompt, one that is too long, or a token that does not exist; `field` is where it
/// came from.
void set_prompt(const ApiContext& context, EngineRequest& request, std::vector<Token> prompt,
                std::optional<std::int64_t> max_tokens, const std::string& field);

/// Token ids of a JSON array.  Throws ApiError 400 naming the element that is none.
Token read_token(const Tokenizer& tokenizer, const OrderedJson& value, const std::string& path);

}  // namespace kl
