#include "cli/input.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/printable.h"
#include "cli/interrupt.h"

namespace kl::cli {

namespace {

/// Devices other than terminals and /dev/null: /dev/zero and its like have no end.
bool is_device(int fd, const struct stat& info) {
  struct stat null {};
  const bool is_null = ::stat("/dev/null", &null) == 0 && S_ISCHR(info.st_mode) && info.st_rdev == null.st_rdev;
  return S_ISBLK(info.st_mode) || (S_ISCHR(info.st_mode) && !is_null && ::isatty(fd) != 1);
}

}  // namespace

void Input::Close::operator()(std::FILE* file) const {
  if (file != stdin) std::fclose(file);
}

Input::Input(const std::string& path) : name_(path == "-" ? "standard input" : path) {
  file_.reset(path == "-" ? stdin : std::fopen(path.c_str(), "rbe"));
  const auto fail = [&](const char* got) {
    throw Error(ErrorCode::kNotFound, fmt::format("{}: expected a readable file, got {}", name_, got));
  };
  if (!file_) fail(std::strerror(errno));
  struct stat info {};
  if (::fstat(::fileno(file_.get()), &info) != 0) fail(std::strerror(errno));
  if (S_ISDIR(info.st_mode)) fail("a directory");
  if (is_device(::fileno(file_.get()), info)) fail("a device");
}

/// Throws if reading failed, or if `bytes` are more than anything meant to be read.
void Input::check(std::size_t bytes) const {
  if (bytes > kMaxBytes) {
    throw Error(ErrorCode::kCorrupt, fmt::format("{}: expected at most {} bytes, got more", name_, kMaxBytes));
  }
  if (std::ferror(file_.get()) && errno == EINTR && interrupted()) {
    std::clearerr(file_.get());
    throw Interrupted{};
  }
  if (std::ferror(file_.get())) {
    throw Error(ErrorCode::kNotFound, fmt::format("{}: expected readable data, got {}", name_, std::strerror(errno)));
  }
}

std::string Input::read_all() {
  struct stat info {};
  if (::fstat(::fileno(file_.get()), &info) == 0 && S_ISREG(info.st_mode))
    check(static_cast<std::size_t>(info.st_size));
  std::string text;
  char block[1 << 16];
  while (const std::size_t n = std::fread(block, 1, sizeof block, file_.get())) {
    text.append(block, n);
    check(text.size());
  }
  check(text.size());
  return text;
}

std::optional<std::string> Input::next_line() {
  std::string line;
  int c = 0;
  while (line.size() <= kMaxBytes && (c = ::getc_unlocked(file_.get())) != EOF && c != '\n') {
    line.push_back(static_cast<char>(c));
  }
  check(line.size());
  if (c == EOF && line.empty()) return {};
  ++line_;
  return line;
}

std::string Input::where() const { return fmt::format("{}:{}", name_, line_); }

std::vector<Token> parse_ids(std::string_view text, const std::string& where, int vocab_size, ErrorCode code) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  std::vector<Token> ids;
  while (true) {
    const std::size_t begin = text.find_first_not_of(kSpace);
    if (begin == text.npos) return ids;
    text.remove_prefix(begin);
    const std::string_view word = text.substr(0, text.find_first_of(kSpace));
    Token id = 0;
    const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (problem != std::errc{} || end != word.data() + word.size() || id < 0 || id >= vocab_size) {
      throw Error(code, fmt::format("{}: expected token ids below {}, got {}", where, vocab_size, printable(word, 40)));
    }
    ids.push_back(id);
    text.remove_prefix(word.size());
  }
}

}  // namespace kl::cli
