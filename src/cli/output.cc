#include "cli/output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cli/exit_status.h"
#include "kl/error.h"

namespace kl::cli {
namespace {

constexpr std::size_t kBufferBytes = 1 << 16;

/// Writes all of `text`; returns 0 or the errno of what went wrong.
int write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return 0;
}

}  // namespace

Output::Output() : is_terminal_(::isatty(STDOUT_FILENO) == 1) {}

Output::~Output() { write_all(buffer_); }

void Output::write(std::string_view text) {
  if (text.empty()) return;
  at_line_start_ = text.back() == '\n';
  buffer_ += text;
  if (buffer_.size() >= kBufferBytes) flush();
}

void Output::flush() {
  const std::string text = std::move(buffer_);
  buffer_.clear();
  const int problem = write_all(text);
  if (problem == EPIPE) throw BrokenPipe{};
  if (problem != 0) {
    throw Error(ErrorCode::kCannotWrite, fmt::format("standard output: expected to write {} bytes, got {}", text.size(),
                                                     std::strerror(problem)));
  }
}

int Output::finish() {
  flush();
  return kExitOk;
}

void Output::end_text() {
  if (is_terminal_ && !at_line_start_) write("\n");
  flush();
}

}  // namespace kl::cli
