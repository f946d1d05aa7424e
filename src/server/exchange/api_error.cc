#include "server/exchange/api_error.h"

#include <algorithm>
#include <exception>
#include <new>
#include <nlohmann/json.hpp>

namespace kl {
namespace {

const char* openai_type(const ApiError& error) {
  if (error.prompt_tokens) return "exceed_context_size_error";  // llama.cpp's word, which its clients look for
  switch (error.status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 501:
      return "not_supported_error";
    case 503:
      return "unavailable_error";
    default:
      return error.status < 500 ? "invalid_request_error" : "server_error";
  }
}

const char* anthropic_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    default:
      return status < 500 ? "invalid_request_error" : "api_error";
  }
}

using OrderedJson = nlohmann::ordered_json;

OrderedJson text_or_null(const std::string& text) { return text.empty() ? OrderedJson(nullptr) : OrderedJson(text); }

/// One line; text that is no UTF-8, such as a piece of what a client sent, gets U+FFFD.
std::string to_line(const OrderedJson& value) {
  return value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

/// "n" of "n: expected ...", or nothing if that is no name of a field.
std::string subject_of(const std::string& message) {
  const std::size_t colon = message.find(": ");
  if (colon == std::string::npos) return {};
  const std::string subject = message.substr(0, colon);
  const bool is_name = std::all_of(subject.begin(), subject.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == '.' || c == '[' || c == ']';
  });
  return is_name ? subject : std::string();
}

}  // namespace

ApiError to_api_error(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kInvalidArgument:
      return {.message = error.what(), .param = subject_of(error.what())};
    case ErrorCode::kUnsupported:
      return {.message = error.what()};
    case ErrorCode::kBusy:
      return {.status = 429, .message = error.what(), .code = "server_busy"};
    case ErrorCode::kOutOfMemory:
      return {.status = 503, .message = error.what(), .code = "out_of_memory"};
    default:
      return {.status = 500, .message = error.what()};
  }
}

ApiError current_api_error() {
  try {
    throw;
  } catch (const ApiError& error) {
    return error;
  } catch (const Error& error) {
    return to_api_error(error);
  } catch (const std::bad_alloc&) {
    return {.status = 503, .message = "out of memory", .code = "out_of_memory"};
  } catch (const std::exception& error) {
    return {.status = 500, .message = error.what()};
  }
}

std::string error_body(const ApiError& error, ErrorSchema schema) {
  if (schema == ErrorSchema::kAnthropic) {
    return to_line(
        {{"type", "error"}, {"error", {{"type", anthropic_type(error.status)}, {"message", error.message}}}});
  }
  OrderedJson inner = {{"message", error.message},
                       {"type", openai_type(error)},
                       {"param", text_or_null(error.param)},
                       {"code", text_or_null(error.code)}};
  if (error.prompt_tokens) inner["n_prompt_tokens"] = *error.prompt_tokens;
  if (error.ctx_size) inner["n_ctx"] = *error.ctx_size;
  return to_line({{"error", inner}});
}

void reply_error(Exchange& exchange, const ApiError& error, ErrorSchema schema) {
  Headers extra;
  if (error.status == 429 || error.status == 503) extra.emplace_back("Retry-After", "1");
  exchange.reply(error.status, "application/json", error_body(error, schema), std::move(extra));
}

void answer_errors(Exchange& exchange, ErrorSchema schema, const std::function<void()>& work) {
  try {
    work();
  } catch (...) {
    reply_error(exchange, current_api_error(), schema);
  }
}

}  // namespace kl
