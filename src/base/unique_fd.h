#pragma once
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <utility>

namespace kl {

/// Owns a file descriptor.
class UniqueFd {
 public:
  explicit UniqueFd(int fd = -1) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// Opens a regular file for reading and reports its size.  Throws Error(kNotFound) for anything else.
UniqueFd open_regular_file(const std::filesystem::path& path, std::size_t& size);

}  // namespace kl
