#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace kl::cli {

/// The value on one line with its line break.  Text that is no UTF-8 gets U+FFFD instead of an exception.
inline std::string to_line(const nlohmann::ordered_json& value) {
  return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

}  // namespace kl::cli
