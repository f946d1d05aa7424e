#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace kl {

/// Text from a file made safe to show in a message: control characters and bytes that are no UTF-8 become \xNN, and
/// what exceeds `max_bytes` becomes "...".
std::string printable(std::string_view text, std::size_t max_bytes = 160);

/// Length of the UTF-8 character at the start of `text`, or 0 if the bytes there are none.
std::size_t utf8_length(std::string_view text);

}  // namespace kl
