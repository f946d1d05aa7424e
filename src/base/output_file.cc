#include "base/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "kl/error.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBufferBytes = 1u << 20;
constexpr off_t kLargeFile = 64 << 20;
constexpr int kMaxTries = 100;
constexpr std::size_t kMaxNameBytes = 200;  // of the final name inside the temporary one: a name may have 255 bytes

// What a signal handler may look at: the names of temporary files.  One beyond the table is just not in it.
std::array<std::atomic<const char*>, 64> g_unfinished{};
static_assert(std::atomic<const char*>::is_always_lock_free);

int register_unfinished(const char* name) noexcept {
  for (std::size_t i = 0; i < g_unfinished.size(); ++i) {
    const char* none = nullptr;
    if (g_unfinished[i].compare_exchange_strong(none, name)) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace

void remove_unfinished_files() noexcept {
  for (const auto& name : g_unfinished) {
    if (const char* path = name.load()) ::unlink(path);
  }
}

OutputFile::OutputFile(const fs::path& path, bool wants_sha256) : name_(path.string()), path_(path) {
  if (wants_sha256) hash_ = std::make_unique<Sha256>();
  buffer_.reserve(kBufferBytes);
  std::error_code error;
  if (fs::is_symlink(path, error)) {
    path_ = fs::weakly_canonical(path, error);  // write where the link points
    if (error) fail(error.value());
  }
  const fs::file_status status = fs::status(path_, error);
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    throw Error(ErrorCode::kCannotWrite, name_ + ": expected to write a file, got one of another kind in its place");
  }
  for (int i = 0; fd_.get() < 0; ++i) {
    temporary_ = path_.parent_path() /
                 fmt::format(".{}.tmp.{}.{}", path_.filename().string().substr(0, kMaxNameBytes), ::getpid(), i);
    fd_ = UniqueFd(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (fd_.get() < 0 && (errno != EEXIST || i == kMaxTries)) {
      const int reason = errno;
      temporary_.clear();
      fail(reason);
    }
  }
  slot_ = register_unfinished(temporary_.c_str());
}

OutputFile::~OutputFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  forget_temporary();
}

void OutputFile::forget_temporary() noexcept {
  if (slot_ >= 0) g_unfinished[static_cast<std::size_t>(slot_)].store(nullptr);
  slot_ = -1;
  temporary_.clear();
}

void OutputFile::fail(int error) const {
  throw Error(ErrorCode::kCannotWrite,
              fmt::format("{}: expected to write a file, got {}", name_, std::strerror(error)));
}

void OutputFile::write(const void* data, std::size_t bytes) {
  const char* p = static_cast<const char*>(data);
  if (buffer_.size() + bytes > kBufferBytes) {
    write_through(buffer_.data(), buffer_.size());
    buffer_.clear();
    if (bytes >= kBufferBytes) {
      write_through(p, bytes);
      return;
    }
  }
  buffer_.insert(buffer_.end(), p, p + bytes);
}

void OutputFile::write_through(const char* data, std::size_t bytes) {
  if (hash_) hash_->update(data, bytes);
  while (bytes > 0) {
    const ssize_t n = ::write(fd_.get(), data, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(errno);
    data += n;
    bytes -= static_cast<std::size_t>(n);
  }
}

void OutputFile::commit(bool read_soon) {
  write_through(buffer_.data(), buffer_.size());
  buffer_.clear();
  if (::fsync(fd_.get()) != 0) fail(errno);
  if (!read_soon && ::lseek(fd_.get(), 0, SEEK_CUR) >= kLargeFile)
    ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
  if (::close(fd_.release()) != 0) fail(errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(errno);
  forget_temporary();
  if (hash_) sha256_ = hash_->hex();
  // The new name is safe on disk only when the folder is; some file systems cannot sync folders, which is no failure.
  const fs::path dir = path_.parent_path().empty() ? fs::path(".") : path_.parent_path();
  const UniqueFd dir_fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (dir_fd.get() >= 0 && ::fsync(dir_fd.get()) != 0 && errno == EIO) fail(errno);
}

void write_file(const fs::path& path, std::string_view text) {
  OutputFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

}  // namespace kl
