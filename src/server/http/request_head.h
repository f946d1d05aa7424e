#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/exchange/api_error.h"
#include "server/exchange/exchange.h"
#include "server/http/limits.h"

namespace kl {

/// How far a reader has come with the bytes it was given.
enum class Reading : std::uint8_t {
  kMore,     ///< more bytes are needed
  kDone,     ///< read whole; what follows is still in the input
  kRefused,  ///< refusal() says why; nothing after it can be trusted to begin a request
};

/// What a request's head says, after every check that needs no knowledge of routes.
struct RequestHead {
  HttpRequest request;  ///< without its body
  bool is_http_1_0 = false;
  bool keep_alive = true;
  bool expects_continue = false;
  bool is_chunked = false;
  std::uint64_t content_length = 0;
};

/// Reads the request line and the fields of an HTTP/1.1 request from bytes as they come.  Stricter than RFC 9112 asks for
/// where leniency is how requests are smuggled: no bare LF, no folded lines, no space before a colon, one length.
///
/// Invariant  takes whole lines only; at most head_bytes are ever waited for.
class HeadReader {
 public:
  explicit HeadReader(const HttpLimits& limits) : limits_(limits) {}

  /// Takes from the front of `in` what belongs to the head.
  Reading read(std::string& in);

  RequestHead& head() { return head_; }  ///< REQUIRES: kDone (or partly filled, for the log, when refused)
  const ApiError& refusal() const { return refusal_; }

 private:
  Reading refuse(int status, std::string message);
  std::optional<Reading> take_line(std::string_view line);
  bool request_line(std::string_view line);
  bool target(std::string_view target);
  bool field(std::string_view line);
  bool check_fields();
  bool check_framing();

  const HttpLimits& limits_;
  RequestHead head_;
  ApiError refusal_;
  std::size_t bytes_ = 0;     ///< of lines taken
  std::size_t searched_ = 0;  ///< of `in`: no line ends before here
  bool has_request_line_ = false;
  bool skipped_line_ = false;
  bool is_absolute_ = false;  ///< the target names the host
};

/// The value of the field `name` (lower case), or nothing.
std::optional<std::string_view> field_value(const Headers& headers, std::string_view name);

}  // namespace kl
