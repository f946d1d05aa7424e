#pragma once

namespace kl {
inline constexpr const char* kVersion = "0.1.0";
}
