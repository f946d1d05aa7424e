#pragma once
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace kl {

/// A fixed set of workers for short parallel regions; the calling thread is worker 0.
///
/// A forward pass runs hundreds of regions of a few microseconds each, so workers spin for a moment before they sleep,
/// and a region allocates nothing.  Which worker runs which task is left to chance, and tasks must not care.
///
/// A region ends when its tasks are done, not when every worker has looked in: a worker that the operating system keeps
/// from running costs its share of the speed and nothing more, since the caller takes the tasks it does not.
///
/// On a machine with several NUMA nodes each worker but the caller stays on the CPUs of one node.
///
/// Thread safety: one region at a time, started by one owner thread; regions do not nest.
class ThreadPool {
 public:
  /// `num_threads` >= 1 counts the caller.  Throws Error(kOutOfMemory) if that many cannot be had.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  /// Runs f(task, worker) for 0 <= task < num_tasks and returns when all are done; 0 <= worker < size().
  template <class F>
  void parallel_for(std::ptrdiff_t num_tasks, F&& f) noexcept {
    run(
        num_tasks, [](void* context, std::ptrdiff_t task, int worker) { (*static_cast<F*>(context))(task, worker); },
        const_cast<void*>(static_cast<const void*>(&f)));
  }

 private:
  using Task = void (*)(void* context, std::ptrdiff_t task, int worker);

  void stop() noexcept;
  void run(std::ptrdiff_t num_tasks, Task task, void* context) noexcept;
  void work(int worker) noexcept;
  void drain(int worker) noexcept;

  // Written by the owner before a region is published, read by whoever holds a task of it.
  Task task_ = nullptr;
  void* context_ = nullptr;
  std::ptrdiff_t num_tasks_ = 0;

  // Number of the region in the upper half, tasks nobody has taken in the lower: a task is taken by counting the lower half
  // down, which fails for a worker that looked at an earlier region.
  alignas(64) std::atomic<std::uint64_t> ticket_{0};
  alignas(64) std::atomic<std::ptrdiff_t> done_{0};  // tasks of the region that have ended
  std::atomic<bool> stop_{false};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
};

}  // namespace kl
