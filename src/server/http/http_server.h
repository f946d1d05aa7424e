#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "server/exchange/metrics.h"
#include "server/exchange/route.h"
#include "server/http/access.h"
#include "server/http/limits.h"
#include "server/http/request_log.h"

namespace kl {

struct HttpOptions {
  std::string host = "127.0.0.1";   ///< name, address, or the path of a socket (has a '/', or ends in ".sock")
  std::uint16_t port = 8080;        ///< 0: any that is free
  std::filesystem::path key_file;   ///< PEM; both or none: TLS
  std::filesystem::path cert_file;  ///< PEM, the server's own first
  AccessRules access;               ///< no hosts named and bound to loopback: those that mean loopback
  HttpLimits limits;
  LogFormat log_format = LogFormat::kText;
};

/// Answers HTTP/1.1 on one thread of its own.
///
/// Contract  an endpoint, or anything else that holds an Exchange, must not outlive the server.
class HttpServer {
 public:
  /// Binds, so that connections wait from here on.
  /// Throws Error(kInvalidArgument) if it cannot, naming the flag, and Error(kNotFound) or Error(kCorrupt) for key and
  /// certificate.
  HttpServer(const HttpOptions& options, std::vector<Route> routes, Metrics& metrics, RequestLog::Sink log);
  ~HttpServer();  ///< stops

  std::string url() const;              ///< "http://127.0.0.1:8080", or "unix:PATH"
  bool is_reachable_by_others() const;  ///< bound beyond this machine

  void start();

  // From any thread, once started.
  void drain();                   ///< from now on no new work; connections close after what they answer
  std::size_t answering() const;  ///< requests being answered
  void cut_short();               ///< ends what is being answered with an error
  void stop();                    ///< closes everything; returns when no endpoint runs any more

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kl
