#pragma once
#include <chrono>
#include <cstddef>

namespace kl {

/// What one client may cost.  All are flags of `kl serve`; docs/serving.md lists them.
struct HttpLimits {
  std::size_t head_bytes = 16 << 10;          ///< request line and fields; more: 431
  std::size_t head_fields = 100;              ///< more: 431
  std::size_t target_bytes = 8 << 10;         ///< path and query; more: 414
  std::size_t bodies_bytes = 512u << 20;      ///< of all requests together; more: 503
  std::size_t queued_bytes = 256 << 10;       ///< of one reply; more: Exchange::is_full()
  std::size_t connections = 4096;             ///< one more pushes out the one that waits longest for a request
  std::size_t connections_per_address = 256;  ///< more: 429; 0: any number
  std::size_t requests_per_connection = 1000;
  std::chrono::milliseconds head_timeout{10'000};   ///< from the first byte to the end of the head; then 408
  std::chrono::milliseconds body_timeout{60'000};   ///< then 408
  std::chrono::milliseconds idle_timeout{75'000};   ///< between requests
  std::chrono::milliseconds write_timeout{30'000};  ///< a client that takes not one byte for so long is dropped
  std::chrono::milliseconds keepalive{10'000};      ///< an event stream that is silent for so long gets a comment
};

}  // namespace kl
