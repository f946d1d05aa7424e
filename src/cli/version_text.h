#pragma once
#include <string>

namespace kl::cli {

/// Version, compiler and the kernel tables this machine can run.
std::string version_text();

}  // namespace kl::cli
