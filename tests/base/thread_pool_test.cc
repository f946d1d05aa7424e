#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <vector>

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

}  // namespace
}  // namespace kl
