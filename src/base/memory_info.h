#pragma once
#include <cstddef>

namespace kl {

/// Memory of this process that is in RAM now, mapped files included.  0 if the system does not say.
std::size_t resident_bytes();

/// What this process can still take without pushing anything out: free memory and cache, cut down by a cgroup limit.
/// 0 if the system does not say.
std::size_t available_bytes();

}  // namespace kl
