#pragma once
#include <atomic>
#include <cstddef>
#include <functional>
#include <list>
#include <map>
#include <string>

#include "server/exchange/metrics.h"
#include "server/http/access.h"
#include "server/http/limits.h"
#include "server/http/request_log.h"
#include "server/http/router.h"

namespace kl {

class Connection;

/// What all connections share.  I/O thread only, but for post() and what is atomic.
struct HttpContext {
  const HttpLimits limits;
  const Router router;
  const Access access;
  const RequestLog log;
  Metrics& metrics;
  const std::function<void(std::function<void()>)> post;  ///< runs work on the I/O thread

  bool is_draining = false;                  ///< no new work; connections close after what they answer
  std::atomic<std::size_t> bodies_bytes{0};  ///< of bodies held: the sum of all BodyCharges
  std::atomic<std::size_t> exchanges{0};     ///< requests being answered
  std::list<Connection*> connections;
  std::list<Connection*> waiting;                  ///< those that answer nothing, the idlest first
  std::map<std::string, std::size_t> per_address;  ///< connections
};

}  // namespace kl
