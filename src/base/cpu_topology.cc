#include "base/cpu_topology.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <set>
#include <string>
#include <string_view>
#include <thread>

namespace kl {
namespace {

/// The CPUs of `set`, but of those that share a core only the first.
int num_cores(const cpu_set_t& set) {
  std::set<std::string> cores;
  int without_name = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(static_cast<unsigned>(cpu), &set)) continue;
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    std::string siblings;
    if (std::getline(file, siblings)) {
      cores.insert(siblings);
    } else {
      ++without_name;
    }
  }
  return static_cast<int>(cores.size()) + without_name;
}

}  // namespace

int num_usable_cores() {
  cpu_set_t set;
  int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? num_cores(set)
                                                          : static_cast<int>(std::thread::hardware_concurrency());
  // A container's CPU quota: "max 100000" or "QUOTA PERIOD" in microseconds.
  std::ifstream quota_file("/sys/fs/cgroup/cpu.max");
  long quota = 0, period = 0;
  if (quota_file >> quota >> period && quota > 0 && period > 0)
    cores = std::min(cores, std::max(1, static_cast<int>((quota + period - 1) / period)));
  return std::max(cores, 1);
}

namespace {

/// Takes a number off the front of `text`.
bool take_number(std::string_view& text, unsigned& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

bool take(std::string_view& text, char c) {
  if (!text.starts_with(c)) return false;
  text.remove_prefix(1);
  return true;
}

/// The list in the first line of a file; false if there is none.
bool read_cpu_list(const std::filesystem::path& path, cpu_set_t* set) {
  std::ifstream file(path);
  std::string line;
  return std::getline(file, line) && parse_cpu_list(line, set);
}

}  // namespace

bool parse_cpu_list(std::string_view text, cpu_set_t* set) {
  CPU_ZERO(set);
  if (text.empty()) return true;  // a node that has memory only
  do {
    unsigned first = 0;
    if (!take_number(text, first)) return false;
    unsigned last = first;
    if (take(text, '-') && !take_number(text, last)) return false;
    if (last < first || last >= CPU_SETSIZE) return false;
    for (unsigned cpu = first; cpu <= last; ++cpu) CPU_SET(cpu, set);
  } while (take(text, ','));
  return text.empty();
}

std::vector<cpu_set_t> numa_nodes(const std::filesystem::path& root) {
  cpu_set_t usable, online;
  if (sched_getaffinity(0, sizeof usable, &usable) != 0 || !read_cpu_list(root / "online", &online)) return {};
  std::vector<cpu_set_t> nodes;
  for (unsigned node = 0; node < CPU_SETSIZE; ++node) {
    cpu_set_t cpus;
    if (!CPU_ISSET(node, &online) || !read_cpu_list(root / ("node" + std::to_string(node)) / "cpulist", &cpus))
      continue;
    CPU_AND(&cpus, &cpus, &usable);
    if (CPU_COUNT(&cpus) > 0) nodes.push_back(cpus);
  }
  return nodes;
}

}  // namespace kl
