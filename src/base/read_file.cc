#include "base/read_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"
#include "kl/error.h"

namespace kl {

std::string lfs_pointer_problem(const std::string& head) {
  if (head.rfind("version https://git-lfs", 0) != 0) return {};
  return "expected the file itself, got a Git-LFS pointer; fetch the contents with `git lfs pull`";
}

UniqueFd open_regular_file(const std::filesystem::path& path, std::size_t& size) {
  // O_NONBLOCK: opening a FIFO must report "not a regular file" instead of waiting for a writer.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected a readable file, got {}", path.string(), std::strerror(errno)));
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected a readable file, got {}", path.string(), std::strerror(errno)));
  }
  if (!S_ISREG(info.st_mode)) {
    throw Error(ErrorCode::kNotFound, fmt::format("{}: expected a regular file, got {}", path.string(),
                                                  S_ISDIR(info.st_mode) ? "a directory" : "a device, pipe or socket"));
  }
  size = static_cast<std::size_t>(info.st_size);
  return fd;
}

std::string read_file(const std::filesystem::path& path, std::size_t max_bytes) {
  std::size_t size = 0;
  const UniqueFd fd = open_regular_file(path, size);
  if (size > max_bytes) {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}: expected at most {} bytes, got {}", path.string(), max_bytes, size));
  }
  std::string text(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = ::read(fd.get(), text.data() + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      throw Error(ErrorCode::kNotFound,
                  fmt::format("{}: expected readable data, got {}", path.string(), std::strerror(errno)));
    }
    if (n == 0) break;  // the file became shorter
    done += static_cast<std::size_t>(n);
  }
  text.resize(done);
  if (const std::string problem = lfs_pointer_problem(text.substr(0, 64)); !problem.empty()) {
    throw Error(ErrorCode::kCorrupt, path.string() + ": " + problem);
  }
  return text;
}

}  // namespace kl
