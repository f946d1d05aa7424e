#pragma once
#include <cstdint>
#include <string>

namespace kl::cli {

/// 49,122,681,728
std::string grouped(std::int64_t count);

/// 98.2 GB: decimal units, as disks and files are measured.
std::string bytes_text(std::int64_t bytes);

}  // namespace kl::cli
