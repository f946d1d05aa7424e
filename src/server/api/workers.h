#pragma once
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace kl {

/// A few threads that read requests, so that a long one (a megabyte to tokenise, a schema to compile, a session to
/// write) does not stall the streams of the I/O thread.
/// Thread safety: run() may be called from any thread.
class Workers {
 public:
  /// Throws std::system_error if threads cannot be had.
  Workers(int threads, std::size_t max_waiting);

  /// Finishes what is being worked on; what waits is dropped.
  ~Workers();

  /// Runs `work`, which must not throw, on one of the threads; false if too much waits.
  bool run(std::function<void()> work);

 private:
  void loop();

  const std::size_t max_waiting_;

  // Guarded by mutex_.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  bool stopping_ = false;

  std::vector<std::thread> threads_;  // last: they use what stands above
};

}  // namespace kl
