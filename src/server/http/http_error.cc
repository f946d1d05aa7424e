#include "server/http/http_error.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace kl {
namespace {

const char* type_of(int status) {
  switch (status) {
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
      return status < 500 ? "invalid_request_error" : "server_error";
  }
}

/// The part before ": expected", if it can be a field of a request: "messages[0].role".
std::string subject_of(std::string_view message) {
  const std::string_view subject = message.substr(0, std::min(message.find(": "), message.size()));
  const auto is_name = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '[' || c == ']';
  };
  const bool is_field = subject.size() < message.size() && std::all_of(subject.begin(), subject.end(), is_name);
  return std::string(is_field ? subject : std::string_view());
}

}  // namespace

std::string http_error_body(const HttpError& error) {
  const auto or_null = [](const std::string& text) {
    return text.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(text);
  };
  const nlohmann::ordered_json body = {{"error",
                                        {{"message", error.message},
                                         {"type", type_of(error.status)},
                                         {"param", or_null(error.param)},
                                         {"code", or_null(error.code)}}}};
  return body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void reply_http_error(Exchange& exchange, const HttpError& error) {
  Headers extra;
  if (error.status == 429 || error.status == 503) extra.emplace_back("Retry-After", "1");
  exchange.reply(error.status, "application/json", http_error_body(error), std::move(extra));
}

void reply_http_error(Exchange& exchange, const Error& error) {
  switch (error.code()) {
    case ErrorCode::kInvalidArgument:
      return reply_http_error(exchange, {400, error.what(), subject_of(error.what())});
    case ErrorCode::kBusy:
      return reply_http_error(exchange, {429, error.what(), "", "busy"});
    case ErrorCode::kOutOfMemory:
      return reply_http_error(exchange, {503, "memory: expected enough for this request, got none"});
    default:
      return reply_http_error(exchange, {500, "server: expected to answer, got an internal error"});
  }
}

}  // namespace kl
