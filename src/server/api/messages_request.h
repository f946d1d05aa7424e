#pragma once
#include <string>
#include <vector>

#include "kl/engine.h"
#include "server/api/context.h"
#include "server/api/fields.h"
#include "server/api/tools.h"

namespace kl {

/// A body of /v1/messages, read.
struct MessagesRequest {
  EngineRequest engine;
  bool stream = false;
  bool calls_tools = false;
  std::vector<std::string> stop;  ///< where calls_tools
};

/// Throws ApiError 400 naming the field.
MessagesRequest read_messages_request(const ApiContext& context, const Fields& body);

/// The ids of system prompt, tools and messages.  Throws ApiError 400 naming the field.
std::vector<Token> read_messages_prompt(const ApiContext& context, const Fields& body, const Tools& tools);

}  // namespace kl
