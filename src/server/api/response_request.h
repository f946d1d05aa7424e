#pragma once
#include <memory>
#include <string>
#include <vector>

#include "kl/engine.h"
#include "server/api/context.h"
#include "server/api/conversation.h"
#include "server/api/fields.h"

namespace kl {

/// A body of /v1/responses, read.
struct ResponseRequest {
  EngineRequest engine;
  Conversation conversation;  ///< without instructions
  bool stream = false;
  bool store = true;
  bool calls_tools = false;
  bool logprobs = false;
  bool timings_per_token = false;
  bool return_progress = false;
  std::vector<std::string> stop;  ///< where calls_tools
  std::string echoed;             ///< JSON object: what the response repeats of its request
};

/// Throws ApiError 400 naming the field, 404 for a previous response that is not there.
ResponseRequest read_response_request(const ApiContext& context, const Fields& body);

}  // namespace kl
