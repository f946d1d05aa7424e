#pragma once
#include <cstddef>
#include <string>

#include "server/exchange/exchange.h"

namespace kl {

/// One thing the server answers.
struct Route {
  std::string method;  ///< "GET" or "POST"; the router answers HEAD and OPTIONS itself
  std::string path;    ///< "/v1/models/{id}": a last part in braces takes one path segment, or, as "{id...}", the rest
  Endpoint endpoint;   ///< may throw kl::Error before it has answered: the server replies with what it means
  std::size_t max_body = 0;  ///< bytes; a longer body is refused with 413 before it is read
  bool is_public = false;    ///< answers without an API key
};

}  // namespace kl
