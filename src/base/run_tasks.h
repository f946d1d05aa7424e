#pragma once
#include <atomic>
#include <functional>
#include <vector>

namespace kl {

/// Work of seconds, such as reading a file: may throw, and looks at `stop` now and then to end early.
using LongTask = std::function<void(const std::atomic<bool>& stop)>;

/// Runs tasks, begun in their order, on `threads` threads, and calls on_tick about ten times a second from the caller's.
/// For short regions that may not fail there is ThreadPool.
///
/// One thread without on_tick is the caller's own.
/// The first exception, of a task or of on_tick, stops the rest and is thrown on when all threads have ended.
/// Errors    Error(kOutOfMemory) if not a single thread can be had.
void run_tasks(const std::vector<LongTask>& tasks, int threads, const std::function<void()>& on_tick);

}  // namespace kl
