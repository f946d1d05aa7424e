#include "base/cpu_topology.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/support/temp_dir.h"

namespace kl {
namespace {

/// The CPUs of a set as the kernel writes them, without ranges.
std::string text_of(const cpu_set_t& set) {
  std::string text;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) text += (text.empty() ? "" : ",") + std::to_string(cpu);
  return text;
}

TEST(CpuTopology, ReadsListsOfCpus) {
  cpu_set_t set;
  for (const auto& [list, expected] : {std::pair{"0", "0"}, {"0-3", "0,1,2,3"}, {"1,4-5,9", "1,4,5,9"}, {"", ""}}) {
    EXPECT_TRUE(parse_cpu_list(list, &set)) << list;
    EXPECT_EQ(text_of(set), expected);
  }
  for (const char* list : {"x", "1-", "3-1", "1,", "1 2", "-1", "99999", "0-99999", "1,,2"})
    EXPECT_FALSE(parse_cpu_list(list, &set)) << list;
}

TEST(CpuTopology, FindsNodesWithCpusThatThisProcessMayUse) {
  cpu_set_t usable;
  ASSERT_EQ(sched_getaffinity(0, sizeof usable, &usable), 0);
  const std::string cpu = text_of(usable).substr(0, text_of(usable).find(','));
  const TempDir dir;
  const auto write = [&](const std::string& name, const std::string& text) {
    std::filesystem::create_directories((dir.path() / name).parent_path());
    put_bytes(dir / name, text);
  };
  EXPECT_TRUE(numa_nodes(dir.path()).empty());
  write("online", "0-1,3\n");
  write("node0/cpulist", "\n");        // memory only
  write("node1/cpulist", "0-1023\n");  // everything
  write("node3/cpulist", cpu + "\n");
  write("node4/cpulist", cpu + "\n");  // not online
  const std::vector<cpu_set_t> nodes = numa_nodes(dir.path());
  ASSERT_EQ(nodes.size(), 2u);
  EXPECT_EQ(text_of(nodes[0]), text_of(usable));
  EXPECT_EQ(text_of(nodes[1]), cpu);
}

TEST(CpuTopology, CoresAreAtLeastOneAndNoMoreThanCpus) {
  cpu_set_t usable;
  ASSERT_EQ(sched_getaffinity(0, sizeof usable, &usable), 0);
  EXPECT_GE(num_usable_cores(), 1);
  EXPECT_LE(num_usable_cores(), CPU_COUNT(&usable));
}

}  // namespace
}  // namespace kl
