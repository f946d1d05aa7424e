#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/cpu_topology.h"

namespace kl {
namespace {

TEST(ThreadPool, RunsEveryTaskOnceForAnyNumberOfThreadsAndTasks) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (const std::ptrdiff_t tasks : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(tasks));
      std::atomic<bool> bad_worker{false};
      pool.parallel_for(tasks, [&](std::ptrdiff_t i, int worker) {
        ++runs[static_cast<std::size_t>(i)];
        if (worker < 0 || worker >= threads) bad_worker = true;
      });
      for (const auto& r : runs) EXPECT_EQ(r, 1);
      EXPECT_FALSE(bad_worker);
    }
  }
}

TEST(ThreadPool, RegionsSeeWhatEarlierRegionsWrote) {
  ThreadPool pool(3);
  std::vector<long> even(64, 0), odd(64, 0);
  for (int round = 0; round < 10000; ++round) {
    // Each region reads what the one before wrote, at a place another worker may have had.
    pool.parallel_for(64, [&](std::ptrdiff_t i, int) {
      odd[static_cast<std::size_t>(i)] = even[static_cast<std::size_t>((i + 17) % 64)] + 1;
    });
    pool.parallel_for(64, [&](std::ptrdiff_t i, int) {
      even[static_cast<std::size_t>(i)] = odd[static_cast<std::size_t>((i + 31) % 64)] + 1;
    });
  }
  for (const long v : even) EXPECT_EQ(v, 20000);
}

TEST(ThreadPool, SleepingWorkersWakeUp) {
  ThreadPool pool(2);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // long enough to fall asleep
    std::atomic<int> done{0};
    pool.parallel_for(2, [&](std::ptrdiff_t, int) { ++done; });
    EXPECT_EQ(done, 2);
  }
}

/// Seconds for 5000 regions of next to nothing.
double seconds_of_regions(int threads) {
  ThreadPool pool(threads);
  std::atomic<long> sum{0};
  const auto start = std::chrono::steady_clock::now();
  for (int round = 0; round < 5000; ++round) pool.parallel_for(8, [&](std::ptrdiff_t i, int) { sum += i; });
  EXPECT_EQ(sum, 5000 * 28);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// A region that had to wait for every worker to look in would take a time slice of the scheduler, milliseconds,
// whenever one is not running: 5000 regions would take longer than these bounds, which are a hundred times what is
// measured.
TEST(ThreadPool, MoreThreadsThanCpusDoNotWaitForEachOther) {
  EXPECT_LT(seconds_of_regions(4 * num_usable_cores()), 10);
}

TEST(ThreadPool, OtherWorkOnEveryCpuCostsItsShareOnly) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> others;
  for (int i = 0; i < num_usable_cores(); ++i)
    others.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed)) continue;
    });
  EXPECT_LT(seconds_of_regions(num_usable_cores() + 1), 10);
  stop = true;
  for (std::thread& t : others) t.join();
}

}  // namespace
}  // namespace kl
