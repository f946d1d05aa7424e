#pragma once
#include <string>

namespace kl::cli {

/// A value of nlohmann's on one line with its line break, in ASCII: U+2028 and its like are written as escapes, because
/// many readers take them for line breaks.  Text that is no UTF-8 gets U+FFFD instead of an exception.
/// A template, so that only those who make such values compile nlohmann's header.
template <class Json>
std::string to_line(const Json& value) {
  return value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace) + '\n';
}

}  // namespace kl::cli
