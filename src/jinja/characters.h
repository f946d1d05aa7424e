#pragma once
#include <cstddef>
#include <string_view>

#include "base/utf8.h"
#include "text/unicode.h"

namespace kl::jinja {

// Characters of well-formed UTF-8 as Python sees them.

/// Where character number `index` begins; the end of the text if it has fewer.
std::size_t byte_of(std::string_view text, std::size_t index);

/// Length in bytes of the whitespace character (str.isspace) at the start of `text`, or 0.
std::size_t space_length(std::string_view text);

std::string_view lstrip(std::string_view text);
std::string_view rstrip(std::string_view text);

}  // namespace kl::jinja
