#include "cli/notice.h"

#include <cstdio>

namespace kl::cli {

void notice(std::string_view text) noexcept { std::fwrite(text.data(), 1, text.size(), stderr); }

}  // namespace kl::cli
