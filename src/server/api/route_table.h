#pragma once
#include <optional>
#include <span>

#include "server/api/context.h"
#include "server/api/parameters.h"
#include "server/exchange/api_error.h"

namespace kl {

/// One endpoint: what routes and openapi.yaml are made of.
struct RouteRow {
  const char* method;
  const char* path;
  const char* alias;  ///< a second path, as llama.cpp has it; null: none
  Handler (*handler)(const ApiContext& context);
  std::optional<Body> body;
  bool is_long;        ///< the body may hold a prompt
  const char* reply;   ///< schema of the reply in openapi.yaml
  const char* stream;  ///< schema of the events of a stream; null: it does not stream
  ErrorSchema errors;
  const char* summary;
};

std::span<const RouteRow> route_table();

}  // namespace kl
