#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "kl/error.h"
#include "server/exchange/exchange.h"

namespace kl {

/// Whose words an error reply uses.
enum class ErrorSchema : std::uint8_t {
  kOpenAi,     ///< {"error": {"message", "type", "param", "code"}}: all four, the last two a string or null
  kAnthropic,  ///< {"type": "error", "error": {"type", "message"}}
};

/// A request that is refused, or failed, in the words of HTTP.
struct ApiError {
  int status = 400;
  std::string message;                        ///< "temperature: expected a number from 0 to 2, got \"hot\""
  std::string param;                          ///< "messages[2].content[0].type"; empty: null
  std::string code;                           ///< "context_length_exceeded"; empty: null
  std::optional<std::int64_t> prompt_tokens;  ///< of a prompt that is too long
  std::optional<std::int64_t> ctx_size;       ///< and what would have been allowed
};

/// What `error` of the library means to a client.  Whatever stands before the first ": " of an invalid argument is the
/// parameter, if it looks like one.
ApiError to_api_error(const Error& error);

/// The JSON text of an error reply or event.
std::string error_body(const ApiError& error, ErrorSchema schema = ErrorSchema::kOpenAi);

/// Answers with an error, `Retry-After` included where it makes sense.
void reply_error(Exchange& exchange, const ApiError& error, ErrorSchema schema = ErrorSchema::kOpenAi);

/// Runs `work`; whatever it throws becomes the reply.
void answer_errors(Exchange& exchange, ErrorSchema schema, const std::function<void()>& work);

/// The exception being handled as an ApiError.  REQUIRES: called in a catch block.
ApiError current_api_error();

}  // namespace kl
