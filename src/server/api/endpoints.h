#pragma once
#include "server/api/context.h"

namespace kl {

// One for each thing the server does; docs/api.md describes them.  The context must outlive the handler.

Handler chat_handler(const ApiContext& context);              ///< POST /v1/chat/completions
Handler completion_handler(const ApiContext& context);        ///< POST /v1/completions
Handler response_handler(const ApiContext& context);          ///< POST /v1/responses
Handler stored_response_handler(const ApiContext& context);   ///< GET /v1/responses/{id}
Handler messages_handler(const ApiContext& context);          ///< POST /v1/messages
Handler count_tokens_handler(const ApiContext& context);      ///< POST /v1/messages/count_tokens
Handler llama_completion_handler(const ApiContext& context);  ///< POST /completion
Handler models_handler(const ApiContext& context);            ///< GET /v1/models
Handler model_handler(const ApiContext& context);             ///< GET /v1/models/{id}
Handler tokenize_handler(const ApiContext& context);          ///< POST /tokenize
Handler detokenize_handler(const ApiContext& context);        ///< POST /detokenize
Handler apply_template_handler(const ApiContext& context);    ///< POST /apply-template
Handler props_handler(const ApiContext& context);             ///< GET /props
Handler slots_handler(const ApiContext& context);             ///< GET /slots
Handler slot_action_handler(const ApiContext& context);       ///< POST /slots/{id}?action=save|restore|erase

}  // namespace kl
