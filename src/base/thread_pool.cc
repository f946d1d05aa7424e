#include "base/thread_pool.h"

#include <fmt/format.h>
#include <immintrin.h>
#include <sched.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <system_error>

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
    for (int worker = 1; worker < num_threads; ++worker) workers_.emplace_back([this, worker] { work(worker); });
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

namespace {

/// The CPUs of `set`, but of those that share a core only the first.
int num_cores(const cpu_set_t& set) {
  std::set<std::string> cores;
  int without_name = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(static_cast<unsigned>(cpu), &set)) continue;
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    std::string siblings;
    if (std::getline(file, siblings)) {
      cores.insert(siblings);
    } else {
      ++without_name;
    }
  }
  return static_cast<int>(cores.size()) + without_name;
}

}  // namespace

int num_usable_cores() {
  cpu_set_t set;
  int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? num_cores(set)
                                                          : static_cast<int>(std::thread::hardware_concurrency());
  // A container's CPU quota: "max 100000" or "QUOTA PERIOD" in microseconds.
  std::ifstream quota_file("/sys/fs/cgroup/cpu.max");
  long quota = 0, period = 0;
  if (quota_file >> quota >> period && quota > 0 && period > 0)
    cores = std::min(cores, std::max(1, static_cast<int>((quota + period - 1) / period)));
  return std::max(cores, 1);
}

}  // namespace kl
