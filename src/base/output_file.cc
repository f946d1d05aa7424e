#include "base/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "kl/error.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBufferBytes = 1u << 20;
constexpr int kMaxTries = 100;

}  // namespace

OutputFile::OutputFile(const fs::path& path) : name_(path.string()), path_(path) {
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
    temporary_ = path_.parent_path() / fmt::format(".{}.tmp.{}.{}", path_.filename().string(), ::getpid(), i);
    fd_ = UniqueFd(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (fd_.get() < 0 && (errno != EEXIST || i == kMaxTries)) {
      const int reason = errno;
      temporary_.clear();
      fail(reason);
    }
  }
}

OutputFile::~OutputFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
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
  while (bytes > 0) {
    const ssize_t n = ::write(fd_.get(), data, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(errno);
    data += n;
    bytes -= static_cast<std::size_t>(n);
  }
}

void OutputFile::commit() {
  write_through(buffer_.data(), buffer_.size());
  buffer_.clear();
  if (::fsync(fd_.get()) != 0) fail(errno);
  if (::close(fd_.release()) != 0) fail(errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(errno);
  temporary_.clear();
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
