#pragma once
#include <cstddef>
#include <functional>

namespace kl {

/// A connected stream of bytes, plain or TLS.  I/O thread only.
class Socket {
 public:
  /// Told how many bytes went; 0: the other end has closed, or an error, or close().
  using Done = std::function<void(std::size_t bytes)>;

  virtual ~Socket() = default;

  /// What has to happen before bytes may flow; tells 1 if it did.
  virtual void handshake(Done done) = 0;

  // At most one of each at a time; the memory must live until `done`.
  virtual void read_some(char* to, std::size_t most, Done done) = 0;
  virtual void write_some(const char* from, std::size_t bytes, Done done) = 0;

  virtual void shutdown_write() = 0;  ///< the other end reads an end; reading goes on
  virtual void close() = 0;
};

}  // namespace kl
