#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "server/exchange/exchange.h"

namespace kl {

/// What the head of a reply says besides its status.
struct ResponseHead {
  int status = 200;
  std::string content_type;                     ///< empty: no body
  std::optional<std::uint64_t> content_length;  ///< nothing: chunked, or until the connection closes
  bool is_chunked = false;
  bool close = false;  ///< nothing follows on this connection
  Headers fields;      ///< replace the fields every reply has, where they share a name
};

/// Status line and fields with the empty line that ends them.  Every reply has the fields that tell browsers to guess
/// nothing, run nothing, store nothing, and show it in nobody's frame.  Values lose what could end a line.
std::string response_head(const ResponseHead& head);

/// "200 OK"
std::string status_text(int status);

}  // namespace kl
