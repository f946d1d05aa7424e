#include "server/http/access.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>

#include "base/sha256.h"
#include "server/http/request_head.h"
#include "server/http/text.h"

namespace kl {
namespace {

/// "localhost:8080" becomes localhost, "[::1]:80" becomes [::1].
std::string host_name(std::string_view host) {
  const std::size_t after = host.starts_with('[') ? host.find(']') : 0;
  return lower_case(host.substr(0, host.find(':', std::min(after, host.size()))));
}

/// The key in an Authorization field: Bearer KEY, or Basic with the key as password, which is how a browser asks a
/// person.
std::string key_in(std::string_view authorization) {
  const std::size_t space = std::min(authorization.find(' '), authorization.size());
  const std::string scheme = lower_case(authorization.substr(0, space));
  const std::string_view value = trimmed(authorization.substr(space));
  if (scheme == "bearer") return std::string(value);
  if (scheme != "basic" || value.size() % 4 != 0) return "";
  std::string decoded(value.size() / 4 * 3, '\0');
  const int bytes =
      EVP_DecodeBlock(reinterpret_cast<unsigned char*>(decoded.data()),
                      reinterpret_cast<const unsigned char*>(value.data()), static_cast<int>(value.size()));
  if (bytes < 0) return "";
  while (!decoded.empty() && decoded.back() == '\0') decoded.pop_back();  // what padding stands for
  const std::size_t colon = decoded.find(':');
  return colon == decoded.npos ? "" : decoded.substr(colon + 1);
}

}  // namespace

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Access::Access(const AccessRules& rules) : origins_(rules.cors_origins) {
  for (const std::string& key : rules.api_keys) key_digests_.push_back(sha256_hex(key));
  for (const std::string& host : rules.hosts) hosts_.push_back(lower_case(host));
}

bool Access::knows_key(const Headers& headers) const {
  std::string key;
  if (const auto field = field_value(headers, "x-api-key")) key = *field;
  if (const auto field = field_value(headers, "authorization")) key = key_in(*field);
  const std::string digest = sha256_hex(key);  // digests have one length, and say nothing about how near a guess was
  bool known = false;
  for (const std::string& right : key_digests_) known |= equal_in_constant_time(digest, right);
  return known;
}

bool Access::allows_origin(std::string_view origin) const {
  return std::any_of(origins_.begin(), origins_.end(),
                     [&](const std::string& allowed) { return allowed == "*" || allowed == origin; });
}

std::optional<ApiError> Access::refusal(const HttpRequest& request, bool is_public) const {
  const std::string_view host = field_value(request.headers, "host").value_or("");
  if (!hosts_.empty() && !host.empty() && std::find(hosts_.begin(), hosts_.end(), host_name(host)) == hosts_.end()) {
    return ApiError{403, "host: expected a name of this server (--allowed-hosts), got another", "", "host_not_allowed"};
  }
  if (const auto origin = field_value(request.headers, "origin"); origin && !allows_origin(*origin)) {
    const std::size_t slashes = origin->find("://");
    const bool is_own = slashes != origin->npos && origin->substr(slashes + 3) == host;
    if (!is_own) {
      return ApiError{403, "origin: expected this server's or an allowed one (--cors-origin), got another", "",
                      "origin_not_allowed"};
    }
  }
  if (is_public || key_digests_.empty() || knows_key(request.headers)) return {};
  if (is_preflight(request) && allows_origin(*field_value(request.headers, "origin"))) return {};  // carries no key
  return ApiError{401,
                  "API key: expected a right one, as Authorization: Bearer KEY or X-Api-Key: KEY, got none or another",
                  "", "invalid_api_key"};
}

const char* Access::challenge(const HttpRequest& request) {
  const bool shows_page =
      field_value(request.headers, "accept").value_or("").find("text/html") != std::string_view::npos;
  return shows_page ? "Basic realm=\"kl: the API key as password\"" : "Bearer";
}

bool Access::is_preflight(const HttpRequest& request) {
  return request.method == "OPTIONS" && field_value(request.headers, "origin") &&
         field_value(request.headers, "access-control-request-method");
}

Headers Access::cors_fields(const HttpRequest& request) const {
  if (origins_.empty()) return {};
  Headers fields = {{"Vary", "Origin"}};
  const auto origin = field_value(request.headers, "origin");
  if (!origin || !allows_origin(*origin)) return fields;
  fields.emplace_back("Access-Control-Allow-Origin", *origin);
  fields.emplace_back("Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
  if (is_preflight(request)) {
    fields.emplace_back("Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE, OPTIONS");
    fields.emplace_back("Access-Control-Allow-Headers",
                        field_value(request.headers, "access-control-request-headers").value_or("*"));
    fields.emplace_back("Access-Control-Max-Age", "600");
  }
  return fields;
}

}  // namespace kl
