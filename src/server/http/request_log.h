#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "server/exchange.h"

namespace kl {

enum class LogFormat : std::uint8_t { kText, kJson };

/// One answered request, as the log tells it: nothing of what was asked or answered.
struct LogLine {
  std::string_view id;      ///< X-Request-Id
  std::string_view trace;   ///< of traceparent; empty: none
  std::string_view client;  ///< its address
  std::string_view method, path;
  int status = 0;
  double seconds = 0;
  std::uint64_t bytes = 0;  ///< of the reply's body
  bool is_whole = true;     ///< false: the client had gone
  std::optional<TokenCounts> tokens;
};

/// Writes a line of at most 4 KiB for each request, and for what goes wrong outside of requests.
class RequestLog {
 public:
  using Sink = std::function<void(std::string_view line)>;

  /// Writes to a descriptor without ever waiting for who reads it: lines that do not fit are dropped and counted.
  static Sink to_descriptor(int fd);

  RequestLog(LogFormat format, Sink sink) : format_(format), sink_(std::move(sink)) {}
  void write(const LogLine& line) const;
  void problem(std::string_view what) const;

 private:
  LogFormat format_;
  Sink sink_;
};

}  // namespace kl
