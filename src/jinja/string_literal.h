#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace kl::jinja {

/// What a Python string literal means: `body` is what stands between the quotes.  An escape that Python does not know
/// stays as it is.  Nothing for one that names no character, and for \N{...}.
std::optional<std::string> unescape(std::string_view body);

}  // namespace kl::jinja
