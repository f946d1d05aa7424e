#include "base/memory_info.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace kl {
namespace {

/// The first number in a file; nothing if there is none ("max").
bool read_number(const char* path, std::size_t& number) { return static_cast<bool>(std::ifstream(path) >> number); }

}  // namespace

std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  if (!(file >> total >> resident)) return 0;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

std::size_t available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::size_t bytes = 0;
  for (std::string key; file >> key;) {
    std::size_t kib = 0;
    if (key == "MemAvailable:" && file >> kib) bytes = kib * 1024;
    file.ignore(256, '\n');
  }
  std::size_t limit = 0, used = 0;
  if (read_number("/sys/fs/cgroup/memory.max", limit) && read_number("/sys/fs/cgroup/memory.current", used))
    bytes = std::min(bytes, limit - std::min(used, limit));
  return bytes;
}

}  // namespace kl
