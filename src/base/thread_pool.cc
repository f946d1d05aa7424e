#include "base/thread_pool.h"

#include "base/thread_name.h"

#include <fmt/format.h>
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <system_error>

#include "base/cpu_topology.h"
#include "base/float_environment.h"
#include "kl/error.h"

namespace kl {
namespace {

// About 30 microseconds: longer than the gaps between the regions of one forward pass, shorter than a scheduler tick.
constexpr int kSpins = 1000;

/// The lower half of a ticket.
constexpr std::ptrdiff_t tasks_left(std::uint64_t ticket) { return static_cast<std::ptrdiff_t>(ticket & 0xffffffffu); }

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  workers_.reserve(static_cast<std::size_t>(std::max(num_threads, 1) - 1));
  try {
    const std::vector<cpu_set_t> nodes = numa_nodes();
    for (int worker = 1; worker < num_threads; ++worker) {
      workers_.emplace_back([this, worker] { work(worker); });
      // Neighbours share a node, and with it what they touch first.  Within a node, and where there is only one, the
      // operating system may move a worker away from a CPU that somebody else wants.
      if (nodes.size() > 1) {
        const cpu_set_t& node =
            nodes[static_cast<std::size_t>(worker) * nodes.size() / static_cast<std::size_t>(num_threads)];
        ::pthread_setaffinity_np(workers_.back().native_handle(), sizeof node, &node);
      }
    }
  } catch (const std::system_error& error) {
    stop();  // the threads that could be had must not outlive the object that could not
    throw Error(ErrorCode::kOutOfMemory, fmt::format("threads: expected {} of them, got {} and then: {}", num_threads,
                                                     workers_.size() + 1, error.code().message()));
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() noexcept {
  stop_.store(true);
  { const std::lock_guard lock(mutex_); }  // a worker that saw no stop is now waiting for the signal
  wake_.notify_all();
  for (std::thread& t : workers_) t.join();
}

void ThreadPool::run(std::ptrdiff_t num_tasks, Task task, void* context) noexcept {
  if (workers_.empty() || num_tasks <= 1) {
    for (std::ptrdiff_t i = 0; i < num_tasks; ++i) task(context, i, 0);
    return;
  }
  task_ = task;
  context_ = context;
  num_tasks_ = num_tasks;
  done_.store(0, std::memory_order_relaxed);
  const std::uint64_t region = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
  // Publishes the lines above; sequentially consistent with sleepers_, so no wake-up is lost.
  ticket_.store(region << 32 | static_cast<std::uint64_t>(num_tasks));
  if (sleepers_.load() > 0) {
    { const std::lock_guard lock(mutex_); }  // a worker that counted itself is now waiting for the signal
    wake_.notify_all();
  }
  drain(0);
  for (int spins = 0; done_.load(std::memory_order_acquire) != num_tasks; ++spins) {
    if (spins < kSpins) {
      _mm_pause();
    } else {
      sched_yield();  // more threads than CPUs: let the straggler run
    }
  }
}

void ThreadPool::drain(int worker) noexcept {
  std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
  while (tasks_left(ticket) > 0) {
    if (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel, std::memory_order_acquire))
      continue;
    task_(context_, num_tasks_ - tasks_left(ticket), worker);
    done_.fetch_add(1, std::memory_order_release);
    ticket = ticket_.load(std::memory_order_acquire);
  }
}

void ThreadPool::work(int worker) noexcept {
  name_this_thread("kl-worker");
  const DefaultFloatEnvironment environment;
  const auto has_work = [this] { return tasks_left(ticket_.load()) > 0 || stop_.load(); };
  for (;;) {
    for (int spins = 0; spins < kSpins && !has_work(); ++spins) _mm_pause();
    if (!has_work()) {
      std::unique_lock lock(mutex_);
      sleepers_.fetch_add(1);
      wake_.wait(lock, has_work);
      sleepers_.fetch_sub(1);
    }
    if (stop_.load()) return;
    drain(worker);
  }
}

}  // namespace kl
