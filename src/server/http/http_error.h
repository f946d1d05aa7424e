#pragma once
#include <string>
#include <string_view>

#include "kl/error.h"
#include "server/exchange.h"

namespace kl {

/// What a client is told went wrong before an endpoint could say it in its own words.
struct HttpError {
  int status = 400;
  std::string message;
  std::string param = {};  ///< the field in question; empty: null
  std::string code = {};   ///< for programs, such as "invalid_api_key"; empty: null
};

/// {"error": {"message", "type", "param", "code"}}: OpenAI's schema, all four there.  The type follows from the status.
std::string http_error_body(const HttpError& error);

/// Replies with it.  A 429 or 503 carries Retry-After.
void reply_http_error(Exchange& exchange, const HttpError& error);

/// The same for what an endpoint threw: 400 for kInvalidArgument (the message's subject is `param` where it looks like a
/// field), 429 for kBusy, else 500 without the message, which may name paths.
void reply_http_error(Exchange& exchange, const Error& error);

}  // namespace kl
