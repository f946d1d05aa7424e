#pragma once
#include <string>
#include <string_view>

#include "kl/error.h"
#include "server/exchange.h"

namespace kl {

/// What a client is told went wrong: OpenAI's schema, in which all four fields are there.
struct ApiError {
  int status = 400;
  std::string message;
  std::string param = {};  ///< the field in question; empty: null
  std::string code = {};   ///< for programs, such as "invalid_api_key"; empty: null
};

/// {"error": {"message", "type", "param", "code"}}; the type follows from the status.
std::string error_body(const ApiError& error);

/// Replies with it.  A 429 or 503 carries Retry-After.
void error_reply(Exchange& exchange, const ApiError& error);

/// The same for what an endpoint threw: 400 for kInvalidArgument (the message's subject is `param` where it looks like a
/// field), 429 for kBusy, else 500 without the message, which may name paths.
void error_reply(Exchange& exchange, const Error& error);

}  // namespace kl
