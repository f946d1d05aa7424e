#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/exchange/api_error.h"
#include "server/exchange/exchange.h"

namespace kl {

/// Who may ask.
struct AccessRules {
  std::vector<std::string> api_keys;      ///< none: no key is asked for
  std::vector<std::string> cors_origins;  ///< "https://host", or "*"; none: pages of other origins are refused
  std::vector<std::string> hosts;         ///< names the Host field may say; none: any
};

/// Decides whether a request is answered at all: its Host (a page of another site may have made its name point here), its
/// Origin (a page of another site may send requests blindly), its key.
class Access {
 public:
  explicit Access(const AccessRules& rules);

  /// Why not, if not.  `is_public`: no key is asked for.
  std::optional<ApiError> refusal(const HttpRequest& request, bool is_public) const;

  /// How a key is to be given: a browser that shows a page is told to ask its person.
  static const char* challenge(const HttpRequest& request);

  /// Fields that let a browser hand the reply to the page that asked, if its origin is allowed.
  Headers cors_fields(const HttpRequest& request) const;

  /// A browser asks whether its page may ask.
  static bool is_preflight(const HttpRequest& request);

 private:
  bool knows_key(const Headers& headers) const;
  bool allows_origin(std::string_view origin) const;

  std::vector<std::string> key_digests_;
  std::vector<std::string> origins_, hosts_;
};

/// Whether two texts are the same, in a time that depends on their lengths alone.
bool equal_in_constant_time(std::string_view a, std::string_view b);

}  // namespace kl
