// Whether silence of the engine is told from a process that stood still.
#include "server/health.h"

#include <gtest/gtest.h>

#include <thread>

namespace kl {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// An engine that was last heard of a minute ago.
EngineStats silent() {
  EngineStats stats;
  stats.last_progress = Clock::now() - std::chrono::minutes(1);
  return stats;
}

/// Asks every few milliseconds, as Server::run does, until the answer is yes; how long that took.
Clock::duration time_until_lost(Health& health) {
  const auto start = Clock::now();
  while (!health.is_lost()) std::this_thread::sleep_for(milliseconds(10));
  return Clock::now() - start;
}

TEST(Health, SilenceCountsOnceQuestionsHaveComeSteadily) {
  Health health(silent, {});
  EXPECT_EQ(health.problem(), "");
  EXPECT_GE(time_until_lost(health), milliseconds(990));
  EXPECT_NE(health.problem(), "");
  std::this_thread::sleep_for(milliseconds(600));  // the process stands still
  EXPECT_FALSE(health.is_lost());
  EXPECT_EQ(health.problem(), "");
  EXPECT_GE(time_until_lost(health), milliseconds(990));
}

TEST(Health, AnEngineThatHasDiedIsLostAtOnce) {
  EngineStats dead;
  dead.healthy = false;
  Health health([&] { return dead; }, {});
  EXPECT_TRUE(health.is_lost());
  EXPECT_NE(health.problem(), "");
}

TEST(Health, ProgressIsNoSilence) {
  const auto progressing = [] {
    EngineStats stats;
    stats.last_progress = Clock::now();
    return stats;
  };
  Health health(progressing, {.stalled = milliseconds(500), .lost = milliseconds(500)});
  for (const auto end = Clock::now() + milliseconds(1500); Clock::now() < end;) {
    ASSERT_FALSE(health.is_lost());
    ASSERT_EQ(health.problem(), "");
    std::this_thread::sleep_for(milliseconds(10));
  }
}

}  // namespace
}  // namespace kl
