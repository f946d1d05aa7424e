#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/cpu_topology.h"
#include "base/memory_info.h"
#include "base/thread_pool.h"
#include "kernels/peaks.h"
#include "kernels/select.h"
#include "kl/benchmark.h"
#include "kl/error.h"

namespace kl {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20, kPage = 2 * kMiB, kReadTask = kMiB / 2;
constexpr std::size_t kMostRead = 2048 * kMiB, kLeastRead = 64 * kMiB;

// What is timed at once takes one or two milliseconds, less than another process keeps a CPU, in tasks small enough to
// spread evenly; the best of several tries counts, because what else runs here can only slow a loop down.
constexpr std::ptrdiff_t kTasksPerRead = 128;
constexpr int kReadTries = 5, kPeakTries = 60;

template <class F>
double seconds_of(F&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Memory in 2 MiB pages where the system gives them, written by all threads so that each node has its share.
class ReadBuffer {
 public:
  ReadBuffer(ThreadPool& pool, std::size_t size) {
    for (size_ = size / kPage * kPage; size_ >= kLeastRead; size_ = size_ / 2 / kPage * kPage) {
      data_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (data_ != MAP_FAILED) break;
    }
    if (size_ < kLeastRead)
      throw Error(ErrorCode::kOutOfMemory, "read bandwidth: expected 64 MiB to measure it with, got none");
    ::madvise(data_, size_, MADV_HUGEPAGE);
    pool.parallel_for(tasks(), [&](std::ptrdiff_t i, int) { std::fill_n(task(i), kReadTask, static_cast<char>(i)); });
  }
  ~ReadBuffer() { ::munmap(data_, size_); }
  ReadBuffer(const ReadBuffer&) = delete;
  ReadBuffer& operator=(const ReadBuffer&) = delete;

  std::size_t size() const { return size_; }
  std::ptrdiff_t tasks() const { return static_cast<std::ptrdiff_t>(size_ / kReadTask); }
  char* task(std::ptrdiff_t i) const { return static_cast<char*>(data_) + static_cast<std::size_t>(i) * kReadTask; }

 private:
  void* data_ = MAP_FAILED;
  std::size_t size_ = 0;
};

/// The buffer is far larger than any cache, so each of its stretches comes from memory every time.
void measure_reading(ThreadPool& pool, ReadLoop read, MachineLimits& limits) {
  const ReadBuffer buffer(pool, std::clamp(available_bytes() / 2, kLeastRead, kMostRead));
  std::vector<double> best(static_cast<std::size_t>((buffer.tasks() + kTasksPerRead - 1) / kTasksPerRead), HUGE_VAL);
  std::atomic<std::uint64_t> sum{0};  // so that the loops cannot be left out
  for (int run = 0; run < kReadTries; ++run) {
    for (std::size_t stretch = 0; stretch < best.size(); ++stretch) {
      const std::ptrdiff_t first = static_cast<std::ptrdiff_t>(stretch) * kTasksPerRead;
      const std::ptrdiff_t count = std::min(kTasksPerRead, buffer.tasks() - first);
      const double seconds = seconds_of([&] {
        pool.parallel_for(count,
                          [&](std::ptrdiff_t i, int) { sum.fetch_xor(read(buffer.task(first + i), kReadTask)); });
      });
      best[stretch] = std::min(best[stretch], seconds);
    }
  }
  limits.memory_read = buffer.size();
  limits.read_bytes_per_second = static_cast<double>(buffer.size()) / std::reduce(best.begin(), best.end());
}

std::int64_t cpu_nanoseconds() {
  timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

/// By processor time: a thread that has to wait for its CPU shows what the others leave it, not what the CPU can do.
void measure_peak(ThreadPool& pool, const PeakLoop& loop, MachineLimits& limits) {
  if (!loop.supported()) return;
  constexpr std::ptrdiff_t kRounds = 5'000, kTasksPerThread = 40;
  const std::ptrdiff_t tasks = kTasksPerThread * pool.size();
  std::int64_t best = std::numeric_limits<std::int64_t>::max();  // of all threads together
  for (int run = 0; run < kPeakTries; ++run) {
    std::atomic<std::int64_t> sum{0};
    pool.parallel_for(tasks, [&](std::ptrdiff_t, int) {
      const std::int64_t start = cpu_nanoseconds();
      loop.run(kRounds);
      sum += cpu_nanoseconds() - start;
    });
    best = std::min(best, sum.load());
  }
  const double ops = loop.ops_per_round * static_cast<double>(kRounds) * static_cast<double>(tasks);
  const int cpus = std::min(pool.size(), num_usable_cores());
  limits.peaks.push_back({loop.isa, loop.instruction, loop.arithmetic, 1e9 * cpus * ops / static_cast<double>(best)});
}

}  // namespace

double MachineLimits::peak(Arithmetic kind) const {
  double best = 0;
  for (const Peak& p : peaks)
    if (p.arithmetic == kind && (isa.starts_with(p.isa) || isa == reference::kernels.isa))
      best = std::max(best, p.ops_per_second);
  return best;
}

double MachineLimits::seconds(const Cost& cost) const {
  double computing = 0;
  for (std::size_t i = 0; i < kNumArithmetics; ++i)
    if (cost.ops[i] > 0) computing += cost.ops[i] / peak(static_cast<Arithmetic>(i));
  return std::max(cost.bytes / read_bytes_per_second, computing);
}

double MachineLimits::seconds(const Profile& profile) const {
  double sum = 0;
  for (const Cost& part : profile.parts) sum += seconds(part);
  return sum;
}

MachineLimits measure_limits(int threads, std::string_view isa) {
  if (!avx2::kernels.supported())
    throw Error(ErrorCode::kUnsupported, "limits of this machine: expected a CPU with AVX2, got one without");
  ThreadPool pool(threads);
  MachineLimits limits;
  limits.threads = threads;
  limits.isa = isa;
  for (const PeakLoop& loop : avx2::peaks) measure_peak(pool, loop, limits);
  for (const PeakLoop& loop : avx512::peaks) measure_peak(pool, loop, limits);
  measure_reading(pool, avx512::kernels.supported() ? avx512::read_once : avx2::read_once, limits);
  return limits;
}

}  // namespace kl
