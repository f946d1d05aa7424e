#include "cli/version_text.h"

#include <fmt/format.h>

#include "kl/model.h"
#include "kl/version.h"

namespace kl::cli {

std::string version_text() {
#if defined(__clang__)
  constexpr const char* kCompiler = "clang " __clang_version__;
#else
  constexpr const char* kCompiler = "g++ " __VERSION__;
#endif
  return fmt::format("kl {}\ncompiled with {}\nkernel tables: {}\n", kVersion, kCompiler,
                     fmt::join(available_isas(), ", "));
}

}  // namespace kl::cli
