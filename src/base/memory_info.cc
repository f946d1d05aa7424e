#include "base/memory_info.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace kl {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();

/// The first number in a file; nothing if there is none ("max").
bool read_number(const fs::path& path, std::size_t& number) { return static_cast<bool>(std::ifstream(path) >> number); }

/// The number behind a name in a file of such lines; 0 if the name is not there.
std::size_t value_of(const fs::path& path, const std::string& name) {
  std::ifstream file(path);
  std::size_t value = 0;
  for (std::string key; file >> key >> value; file.ignore(256, '\n'))
    if (key == name) return value;
  return 0;
}

/// How a hierarchy calls its files.
struct Names {
  const char *limit, *usage, *inactive_cache, *active_cache;
};
constexpr Names kVersion1 = {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
                             "total_active_file"};
constexpr Names kVersion2 = {"memory.max", "memory.current", "inactive_file", "active_file"};

/// Of one cgroup alone.
std::size_t left_in(const fs::path& group, const Names& names) {
  std::size_t limit = 0, used = 0;
  if (!read_number(group / names.limit, limit) || !read_number(group / names.usage, used)) return kNoLimit;
  const fs::path stat = group / "memory.stat";
  const std::size_t cache = value_of(stat, names.inactive_cache) + value_of(stat, names.active_cache);
  used -= std::min(used, cache);
  return limit - std::min(used, limit);
}

}  // namespace

std::size_t available_in_cgroups(std::istream& membership, const fs::path& root) {
  std::size_t left = kNoLimit;
  for (std::string line; std::getline(membership, line);) {  // "0::/a/b" or "4:memory:/a/b"
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string controller = line.substr(first + 1, second - first - 1);
    if (!controller.empty() && controller != "memory") continue;
    const fs::path top = controller.empty() ? root : root / "memory";
    const Names& names = controller.empty() ? kVersion2 : kVersion1;
    // A limit of any group above holds too.  In a container the path may name groups that are not to be seen.
    fs::path group = line.substr(second + 1);
    for (group = group.relative_path();; group = group.parent_path()) {
      left = std::min(left, left_in(top / group, names));
      if (group.empty()) break;
    }
  }
  return left;
}

std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  if (!(file >> total >> resident)) return 0;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

std::size_t available_bytes() {
  const std::size_t free = value_of("/proc/meminfo", "MemAvailable:") * 1024;
  std::ifstream membership("/proc/self/cgroup");
  return std::min(free, available_in_cgroups(membership, "/sys/fs/cgroup"));
}

}  // namespace kl
