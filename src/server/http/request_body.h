#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "server/http/request_head.h"

namespace kl {

/// Reads a request's body, of known length or in chunks, from bytes as they come.  Trailers are checked and dropped.
class BodyReader {
 public:
  /// `max_bytes` of the body itself.
  BodyReader(const RequestHead& head, std::size_t max_bytes, const HttpLimits& limits);

  /// Takes from the front of `in` what belongs to the body, and appends what it says to `body`.
  Reading read(std::string& in, std::string& body);

  const ApiError& refusal() const { return refusal_; }

 private:
  enum class Part : std::uint8_t { kSize, kData, kDataEnd, kTrailer, kDone };

  Reading refuse(int status, std::string message);
  bool take_line(std::string_view line);
  bool size_line(std::string_view line);

  const HttpLimits& limits_;
  std::size_t max_bytes_;
  bool is_chunked_;
  Part part_;
  std::uint64_t left_;        ///< of the chunk or the body
  std::uint64_t total_ = 0;   ///< of the chunks announced so far
  std::size_t overhead_ = 0;  ///< bytes of chunk extensions and trailers
  ApiError refusal_;
};

}  // namespace kl
