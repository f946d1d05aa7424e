#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace kl {

/// Text from a file made safe to show in a message: bytes that are no UTF-8 and characters that steer a terminal or
/// reorder its text become \xNN, and what exceeds `max_bytes` becomes "...".
std::string printable(std::string_view text, std::size_t max_bytes = 160);

/// The same for a whole message: line breaks stay, nothing is cut.
std::string printable_lines(std::string_view text);

}  // namespace kl
