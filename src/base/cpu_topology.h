#pragma once
#include <sched.h>

#include <filesystem>
#include <string_view>
#include <vector>

namespace kl {

/// Physical cores this process may use: its affinity mask, cut down by a cgroup quota.  Two threads of one core would share
/// the vector units that one of them can fill.
int num_usable_cores();

/// The threads to work with where `asked` is a number of them or 0: one per core this process may use.
inline int thread_count(int asked) { return asked > 0 ? asked : num_usable_cores(); }

/// The CPUs of each NUMA node that this process may use, in the order of the nodes; nodes without such CPUs are left out.
/// Empty where the system does not tell.
std::vector<cpu_set_t> numa_nodes(const std::filesystem::path& root = "/sys/devices/system/node");

/// Reads "0-3,8,10-11" into *set; false if it is not of that form or names CPUs beyond CPU_SETSIZE.
bool parse_cpu_list(std::string_view text, cpu_set_t* set);

}  // namespace kl
