#include "base/memory_info.h"

#include <gtest/gtest.h>

#include <limits>
#include <sstream>

#include "tests/support/temp_dir.h"

namespace kl {
namespace {

constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();

/// A folder that looks like a mounted hierarchy of cgroups.
class Cgroups : public testing::Test {
 protected:
  void group(const std::string& path, const std::string& limit, const std::string& used, const std::string& stat,
             bool version1 = false) {
    const std::filesystem::path dir = root.path() / path;
    std::filesystem::create_directories(dir);
    put_bytes(dir / (version1 ? "memory.limit_in_bytes" : "memory.max"), limit + "\n");
    put_bytes(dir / (version1 ? "memory.usage_in_bytes" : "memory.current"), used + "\n");
    put_bytes(dir / "memory.stat", stat);
  }
  std::size_t left(const std::string& membership) {
    std::istringstream text(membership);
    return available_in_cgroups(text, root.path());
  }

  TempDir root;
};

TEST_F(Cgroups, ALimitLeavesWhatIsNotUsed) {
  group("", "1000", "300", "anon 200\n");
  EXPECT_EQ(left("0::/\n"), 700u);
}

TEST_F(Cgroups, FileCacheCountsAsFree) {
  group("", "1000", "900", "anon 200\nfile 700\ninactive_file 400\nactive_file 250\n");
  EXPECT_EQ(left("0::/\n"), 750u);
}

TEST_F(Cgroups, TheTightestGroupOnTheWayUpCounts) {
  group("", "max", "5000", "");
  group("a", "4000", "3500", "");
  group("a/b", "2000", "100", "");
  EXPECT_EQ(left("0::/a/b\n"), 500u);
  EXPECT_EQ(left("0::/a\n"), 500u);
  EXPECT_EQ(left("0::/\n"), kNoLimit);
}

TEST_F(Cgroups, WhatIsUsedBeyondALimitLeavesNothing) {
  group("", "1000", "1200", "");
  EXPECT_EQ(left("0::/\n"), 0u);
}

TEST_F(Cgroups, TheOlderHierarchyIsReadToo) {
  group("memory/x", "1000", "600", "cache 1\ntotal_inactive_file 100\ntotal_active_file 50\n", true);
  EXPECT_EQ(left("5:devices:/\n4:memory:/x\n0::/\n"), 550u);
}

TEST_F(Cgroups, GroupsThatAreNotToBeSeenLimitNothing) {
  EXPECT_EQ(left("0::/gone/away\n"), kNoLimit);
  EXPECT_EQ(left("nonsense\n"), kNoLimit);
  EXPECT_EQ(left(""), kNoLimit);
}

TEST(MemoryInfo, ThisProcessHasMemory) {
  EXPECT_GT(resident_bytes(), 1u << 20);
  EXPECT_GT(available_bytes(), 1u << 20);
}

}  // namespace
}  // namespace kl
