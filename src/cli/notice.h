#pragma once
#include <string_view>

namespace kl::cli {

/// Tells the person something, on standard error.  Never fails: a standard error that is closed or full is no reason to
/// end differently.
void notice(std::string_view text) noexcept;

}  // namespace kl::cli
