#include "base/run_tasks.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#include "kl/error.h"

namespace kl {
namespace {

constexpr std::chrono::milliseconds kTick{100};

/// What the threads share.
class Runner {
 public:
  explicit Runner(const std::vector<LongTask>& tasks) : tasks_(tasks) {}

  void start(int threads) {
    running_ = 0;
    for (int t = 0; t < threads; ++t) {
      const std::lock_guard lock(mutex_);
      try {
        threads_.emplace_back([this] { work(); });
      } catch (const std::system_error&) {
        break;  // fewer will do
      }
      ++running_;
    }
    if (threads_.empty()) throw Error(ErrorCode::kOutOfMemory, "threads: expected one, got none");
  }

  void wait(const std::function<void()>& on_tick) {
    std::unique_lock lock(mutex_);
    while (!done_.wait_for(lock, kTick, [this] { return running_ == 0; })) {
      if (stop_ || !on_tick) continue;
      lock.unlock();
      try {
        on_tick();
      } catch (...) {
        fail();
      }
      lock.lock();
    }
    lock.unlock();
    for (std::thread& thread : threads_) thread.join();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void work() {
    while (!stop_) {
      const std::size_t task = next_.fetch_add(1);
      if (task >= tasks_.size()) break;
      try {
        tasks_[task](stop_);
      } catch (...) {
        fail();
      }
    }
    const std::lock_guard lock(mutex_);
    --running_;
    done_.notify_one();
  }

  /// Keeps the exception being handled, if it is the first.
  void fail() {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
    stop_ = true;
  }

  const std::vector<LongTask>& tasks_;
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable done_;
  int running_ = 0;             // guarded by mutex_
  std::exception_ptr failure_;  // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace

void run_tasks(const std::vector<LongTask>& tasks, int threads, const std::function<void()>& on_tick) {
  if (tasks.empty()) return;
  if (threads <= 1 && !on_tick) {
    const std::atomic<bool> never{false};
    for (const LongTask& task : tasks) task(never);
    return;
  }
  Runner runner(tasks);
  runner.start(static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(std::max(threads, 1)), tasks.size())));
  runner.wait(on_tick);
  if (on_tick) on_tick();
}

}  // namespace kl
