#pragma once
#include <cstddef>
#include <filesystem>
#include <istream>

namespace kl {

/// Memory of this process that is in RAM now, mapped files included.  0 if the system does not say.
std::size_t resident_bytes();

/// What this process can still take without pushing anything out: free memory and cache, cut down by the limits of the
/// cgroups it is in.  0 if the system does not say.
std::size_t available_bytes();

/// What the memory limits of cgroups leave, file cache counted as free: `membership` is /proc/self/cgroup, `root` the
/// folder under which both kinds of hierarchies are mounted.  The largest number there is if there is no limit.
std::size_t available_in_cgroups(std::istream& membership, const std::filesystem::path& root);

}  // namespace kl
