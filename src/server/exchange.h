#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kl/token_counts.h"

namespace kl {

using Headers = std::vector<std::pair<std::string, std::string>>;

/// A request, read whole and within the limits.
struct HttpRequest {
  std::string method;  ///< "GET", "POST", ...
  std::string path;    ///< without the query, percent-decoded
  std::vector<std::pair<std::string, std::string>> query;
  Headers headers;  ///< names in lower case
  std::string body;
  std::string request_id;  ///< what logs and the X-Request-Id header call it
};

/// One request and its reply: what an endpoint sees of HTTP.
///
/// All methods but post(), request() and is_open() belong to the I/O thread, on which endpoints run; none of them blocks.
/// An endpoint answers with reply(), or with begin_stream(), any number of write()s and end(); it may do so later, keeping
/// the shared_ptr.
class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const HttpRequest& request() const = 0;  ///< never changes.  May be called from any thread.

  /// The whole reply at once.
  virtual void reply(int status, std::string content_type, std::string body, Headers extra = {}) = 0;

  /// Starts a reply of unknown length (chunked), such as text/event-stream.
  virtual void begin_stream(std::string content_type, Headers extra = {}) = 0;
  virtual void write(std::string bytes) = 0;  ///< queues
  virtual bool is_full() const = 0;           ///< the client reads too slowly: write no more until on_drained
  virtual void end() = 0;

  /// False once the client has gone; everything else does nothing then.  May be called from any thread.
  virtual bool is_open() const = 0;

  /// Runs `work` on the I/O thread.  May be called from any thread.
  virtual void post(std::function<void()> work) = 0;

  std::optional<TokenCounts> tokens;  ///< for the log line; set by endpoints that know

  std::function<void()> on_drained;  ///< called when is_full() has become false
  std::function<void()> on_closed;   ///< called once when the client has gone before end()
};

/// Answers requests.  Called on the I/O thread.
using Endpoint = std::function<void(std::shared_ptr<Exchange>)>;

}  // namespace kl
