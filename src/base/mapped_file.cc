#include "base/mapped_file.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <mutex>

#include "base/output_file.h"
#include "base/read_file.h"
#include "base/unique_fd.h"
#include "kl/error.h"

namespace kl {
namespace {

// What the signal handler may look at.  A slot is taken while `begin` is not 0: written last, cleared first.
struct Mapping {
  std::atomic<std::uintptr_t> begin{0};
  std::atomic<std::uintptr_t> end{0};
  std::atomic<const char*> name{nullptr};
};
constexpr std::size_t kMaxMappings = 1024;  // a file beyond these is still used, only its SIGBUS has no name
std::array<Mapping, kMaxMappings> g_mappings;
std::mutex g_mappings_mutex;
struct sigaction g_previous_action;

static_assert(std::atomic<std::uintptr_t>::is_always_lock_free, "the signal handler must not take locks");

void write_stderr(const char* text) noexcept {
  const ssize_t ignored = ::write(STDERR_FILENO, text, std::strlen(text));
  static_cast<void>(ignored);
}

/// Runs in a signal handler: lock-free atomics, write() and _exit() only.
void handle_sigbus(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  for (const Mapping& mapping : g_mappings) {
    const std::uintptr_t begin = mapping.begin.load(std::memory_order_acquire);
    if (begin == 0 || address < begin || address >= mapping.end.load(std::memory_order_relaxed)) continue;
    write_stderr("kl: ");
    write_stderr(mapping.name.load(std::memory_order_relaxed));
    write_stderr(": could not be read any more: the file was truncated while in use, or the disk failed\n");
    remove_unfinished_files();
    ::_exit(3);
  }
  if ((g_previous_action.sa_flags & SA_SIGINFO) != 0) {
    g_previous_action.sa_sigaction(signal, info, context);
  } else if (g_previous_action.sa_handler != SIG_DFL && g_previous_action.sa_handler != SIG_IGN) {
    g_previous_action.sa_handler(signal);
  } else {
    ::sigaction(SIGBUS, &g_previous_action, nullptr);  // returning runs into the default action
  }
}

void install_sigbus_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = handle_sigbus;
    action.sa_flags = SA_SIGINFO;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGBUS, &action, &g_previous_action);
  });
}

/// Lets the handler name the file; answers the slot, -1 if all are taken.
int register_mapping(const std::byte* data, std::size_t size, const char* name) {
  install_sigbus_handler();
  const std::lock_guard lock(g_mappings_mutex);
  for (std::size_t i = 0; i < kMaxMappings; ++i) {
    Mapping& mapping = g_mappings[i];
    if (mapping.begin.load(std::memory_order_relaxed) != 0) continue;
    const auto begin = reinterpret_cast<std::uintptr_t>(data);
    mapping.name.store(name, std::memory_order_relaxed);
    mapping.end.store(begin + size, std::memory_order_relaxed);
    mapping.begin.store(begin, std::memory_order_release);
    return static_cast<int>(i);
  }
  return -1;
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path, MapMode mode) : name_(path.string()) {
  const UniqueFd fd = open_regular_file(path, size_);
  if (size_ == 0) return;
  std::string head(64, '\0');
  head.resize(static_cast<std::size_t>(std::max<ssize_t>(0, ::pread(fd.get(), head.data(), head.size(), 0))));
  if (const std::string problem = lfs_pointer_problem(head); !problem.empty()) {
    throw Error(ErrorCode::kCorrupt, name_ + ": " + problem);
  }
  const bool is_private = mode == MapMode::kPrivate;
  void* mapped = ::mmap(nullptr, size_, is_private ? PROT_READ | PROT_WRITE : PROT_READ,
                        is_private ? MAP_PRIVATE : MAP_SHARED, fd.get(), 0);
  if (mapped == MAP_FAILED) {
    throw Error(errno == ENOMEM ? ErrorCode::kOutOfMemory : ErrorCode::kNotFound,
                fmt::format("{}: expected to map {} bytes, got {}", name_, size_, std::strerror(errno)));
  }
  // A wish: what is not in memory yet is then read in 2 MiB pages where the file system can (docs/benchmarks.md).
  ::madvise(mapped, size_, MADV_HUGEPAGE);
  data_ = static_cast<std::byte*>(mapped);
  slot_ = register_mapping(data_, size_, name_.c_str());
}

MappedFile::~MappedFile() {
  if (slot_ >= 0) g_mappings[static_cast<std::size_t>(slot_)].begin.store(0, std::memory_order_release);
  if (data_) ::munmap(data_, size_);
}

void bring_into_memory(std::span<const std::byte> bytes) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<std::uintptr_t>(bytes.data()), end = first + bytes.size();
  const std::uintptr_t begin = first / page * page;
  if (::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_READ) == 0) return;
  for (std::uintptr_t p = begin; p < end; p += page) {  // a system that does not know the advice (Linux before 5.14)
    static_cast<void>(*reinterpret_cast<const volatile std::byte*>(std::max(p, first)));
  }
}

}  // namespace kl
