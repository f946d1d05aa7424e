#include "server/api/reply_schemas.h"

namespace kl {

const char* const kReplySchemas = R"json({
"Error": {"type": "object", "required": ["error"], "properties": {"error": {
  "type": "object", "required": ["message", "type", "param", "code"], "properties": {
    "message": {"type": "string"}, "type": {"type": "string"},
    "param": {"type": ["string", "null"]}, "code": {"type": ["string", "null"]},
    "n_prompt_tokens": {"type": "integer"}, "n_ctx": {"type": "integer"}}}}},
"AnthropicError": {"type": "object", "required": ["type", "error"], "properties": {
  "type": {"const": "error"},
  "error": {"type": "object", "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}}}}},
"Prompt": {"description": "A text, an id, ids, a mixture, or an object with prompt_string.",
  "type": ["string", "integer", "array", "object"]},
"LogitBias": {"description": "A number, or [token or text, number or false].", "type": ["number", "array"]},
"Usage": {"type": "object", "required": ["prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"],
  "properties": {
    "prompt_tokens": {"type": "integer"}, "completion_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"},
    "prompt_tokens_details": {"type": "object", "required": ["cached_tokens", "cache_miss_reason"], "properties": {
      "cached_tokens": {"type": "integer"},
      "cache_miss_reason": {"description": "Why not more of the prompt came from the cache.",
        "enum": [null, "cold", "diverged", "not_kept", "evicted", "scored", "not_asked"]}}},
    "completion_tokens_details": {"type": "object"}}},
"Timings": {"type": "object", "required": ["cache_n", "prompt_n", "prompt_ms", "predicted_n", "predicted_ms"], "properties": {
  "cache_n": {"type": "integer"}, "prompt_n": {"type": "integer"}, "prompt_ms": {"type": "number"},
  "prompt_per_token_ms": {"type": "number"}, "prompt_per_second": {"type": "number"}, "predicted_n": {"type": "integer"},
  "predicted_ms": {"type": "number"}, "predicted_per_token_ms": {"type": "number"},
  "predicted_per_second": {"type": "number"}, "draft_n": {"type": "integer"}, "draft_n_accepted": {"type": "integer"}}},
"FinishReason": {"enum": [null, "stop", "length", "tool_calls"]},
"ChatCompletion": {"type": "object", "required": ["id", "object", "created", "model", "choices", "usage"], "properties": {
  "id": {"type": "string"}, "object": {"const": "chat.completion"}, "created": {"type": "integer"},
  "model": {"type": "string"}, "system_fingerprint": {"type": "string"},
  "choices": {"type": "array", "items": {"type": "object", "required": ["index", "message", "logprobs", "finish_reason"],
    "properties": {"index": {"type": "integer"}, "logprobs": {"type": ["object", "null"]},
      "finish_reason": {"$ref": "#/components/schemas/FinishReason"},
      "message": {"type": "object", "required": ["role", "content"], "properties": {
        "role": {"const": "assistant"}, "content": {"type": ["string", "null"]},
        "tool_calls": {"type": "array", "items": {"$ref": "#/components/schemas/ToolCall"}}}}}}},
  "usage": {"$ref": "#/components/schemas/Usage"}, "timings": {"$ref": "#/components/schemas/Timings"}}},
"ChatCompletionChunk": {"type": "object", "required": ["id", "object", "created", "model", "choices"], "properties": {
  "id": {"type": "string"}, "object": {"const": "chat.completion.chunk"}, "created": {"type": "integer"},
  "model": {"type": "string"}, "choices": {"type": "array", "items": {"type": "object",
    "required": ["index", "delta", "finish_reason"], "properties": {"index": {"type": "integer"},
      "delta": {"type": "object"}, "finish_reason": {"$ref": "#/components/schemas/FinishReason"}}}},
  "usage": {"anyOf": [{"type": "null"}, {"$ref": "#/components/schemas/Usage"}]},
  "prompt_progress": {"type": "object"}, "timings": {"$ref": "#/components/schemas/Timings"}}},
"TextCompletion": {"type": "object", "required": ["id", "object", "created", "model", "choices"], "properties": {
  "id": {"type": "string"}, "object": {"const": "text_completion"}, "created": {"type": "integer"},
  "model": {"type": "string"}, "choices": {"type": "array", "items": {"type": "object",
    "required": ["index", "text", "logprobs", "finish_reason"], "properties": {"index": {"type": "integer"},
      "text": {"type": "string"}, "finish_reason": {"$ref": "#/components/schemas/FinishReason"},
      "logprobs": {"anyOf": [{"type": "null"}, {"type": "object",
        "required": ["tokens", "token_logprobs", "top_logprobs", "text_offset"]}]}}}},
  "usage": {"anyOf": [{"type": "null"}, {"$ref": "#/components/schemas/Usage"}]},
  "timings": {"$ref": "#/components/schemas/Timings"}}},
"Response": {"type": "object", "required": ["id", "object", "created_at", "status", "model", "output", "usage", "error"],
  "properties": {"id": {"type": "string"}, "object": {"const": "response"}, "created_at": {"type": "integer"},
    "status": {"enum": ["in_progress", "completed", "incomplete", "failed"]}, "model": {"type": "string"},
    "output": {"type": "array", "items": {"type": "object", "required": ["type", "id", "status"]}},
    "usage": {"type": ["object", "null"]}, "error": {"type": ["object", "null"]}}},
"ResponseEvent": {"type": "object", "required": ["type", "sequence_number"], "properties": {
  "type": {"type": "string"}, "sequence_number": {"type": "integer"}}},
"AnthropicReply": {"type": "object",
  "required": ["id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"], "properties": {
    "id": {"type": "string"}, "type": {"const": "message"}, "role": {"const": "assistant"}, "model": {"type": "string"},
    "content": {"type": "array", "items": {"type": "object", "required": ["type"]}},
    "stop_reason": {"enum": ["end_turn", "max_tokens", "stop_sequence", "tool_use"]},
    "stop_sequence": {"type": ["string", "null"]},
    "usage": {"type": "object", "required": ["input_tokens", "output_tokens", "cache_read_input_tokens"]}}},
"AnthropicEvent": {"type": "object", "required": ["type"], "properties": {"type": {"enum": ["message_start", "ping",
  "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop", "error"]}}},
"TokenCount": {"type": "object", "required": ["input_tokens"], "properties": {"input_tokens": {"type": "integer"}}},
"Model": {"type": "object", "required": ["id", "object", "created", "owned_by"], "properties": {
  "id": {"type": "string"}, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": {"type": "string"},
  "meta": {"type": "object"}}},
"ModelList": {"type": "object", "required": ["object", "data"], "properties": {"object": {"const": "list"},
  "data": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}}}},
"LlamaResult": {"type": "object", "required": ["content", "tokens", "stop", "generation_settings", "stop_type", "timings"],
  "properties": {"content": {"type": "string"}, "tokens": {"type": "array", "items": {"type": "integer"}},
    "stop": {"const": true}, "stop_type": {"enum": ["eos", "limit", "word"]}, "stopping_word": {"type": "string"},
    "generation_settings": {"type": "object"}, "timings": {"$ref": "#/components/schemas/Timings"}}},
"LlamaReply": {"anyOf": [{"$ref": "#/components/schemas/LlamaResult"},
  {"type": "array", "items": {"$ref": "#/components/schemas/LlamaResult"}}]},
"LlamaChunk": {"type": "object", "required": ["index", "content", "tokens", "stop"], "properties": {
  "index": {"type": "integer"}, "content": {"type": "string"}, "tokens": {"type": "array"}, "stop": {"type": "boolean"}}},
"TokenList": {"type": "object", "required": ["tokens"], "properties": {"tokens": {"type": "array"}}},
"Text": {"type": "object", "required": ["content"], "properties": {"content": {"type": "string"}}},
"RenderedPrompt": {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}}},
"Props": {"type": "object", "required": ["default_generation_settings", "total_slots", "model_path", "chat_template"]},
"SlotList": {"type": "array", "items": {"type": "object", "required": ["id", "n_ctx", "is_processing"]}},
"SlotReply": {"type": "object", "required": ["id_slot"]}
})json";

}  // namespace kl
