#pragma once
#include <string>
#include <string_view>

namespace kl {

/// Appends the bytes that RFC 4648 base64 stands for.  False, with `out` in an unspecified state, unless `base64` is
/// strictly of that form: the standard alphabet, padded to a multiple of four, unused bits zero.
/// REQUIRES: below 2 GiB, here and there.
bool append_base64(std::string_view base64, std::string& out);

/// The other way.
std::string to_base64(std::string_view bytes);

}  // namespace kl
