#include "server/http/request_log.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/printable.h"

namespace kl {
namespace {

constexpr std::size_t kMostOfPath = 512;

/// 2026-01-31T12:00:00.123Z
std::string timestamp() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const auto seconds = static_cast<std::time_t>(milliseconds / 1000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec, milliseconds % 1000);
}

std::string as_json(const LogLine& line) {
  nlohmann::ordered_json object = {{"time", timestamp()},
                                   {"id", line.id},
                                   {"client", line.client},
                                   {"method", line.method},
                                   {"path", printable(line.path, kMostOfPath)},
                                   {"status", line.status},
                                   {"seconds", line.seconds},
                                   {"bytes", line.bytes}};
  if (!line.trace.empty()) object["trace"] = line.trace;
  if (!line.is_whole) object["client_gone"] = true;
  if (line.tokens) {
    object["prompt_tokens"] = line.tokens->prompt;
    object["cached_tokens"] = line.tokens->cached;
    object["generated_tokens"] = line.tokens->generated;
  }
  return object.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + '\n';
}

std::string as_text(const LogLine& line) {
  std::string text = fmt::format("{} {} {} {} {} {} {:.3f}s {}B", timestamp(), line.id, line.client, line.method,
                                 printable(line.path, kMostOfPath), line.status, line.seconds, line.bytes);
  if (line.tokens) {
    fmt::format_to(std::back_inserter(text), " prompt={} cached={} generated={}", line.tokens->prompt,
                   line.tokens->cached, line.tokens->generated);
  }
  if (!line.trace.empty()) fmt::format_to(std::back_inserter(text), " trace={}", line.trace);
  if (!line.is_whole) text += " client-gone";
  return text + '\n';
}

/// Lines to a descriptor whose reader is never waited for.  Those that do not fit are lost, and the next one that does,
/// or the end, says how many.
class HastyLines {
 public:
  explicit HastyLines(int fd) : fd_(fd) {}
  HastyLines(const HastyLines&) = delete;
  ~HastyLines() { confess(); }

  void write(std::string_view line) {
    confess();
    if (!put(line)) ++lost_;
  }

 private:
  void confess() {
    if (lost_ > 0 && put(fmt::format("kl: {} lines are missing here, as nobody read them\n", lost_))) lost_ = 0;
  }

  /// A pipe that poll() calls writable takes PIPE_BUF bytes at once, and no line is longer.
  bool put(std::string_view line) const {
    pollfd descriptor{fd_, POLLOUT, 0};
    return ::poll(&descriptor, 1, 0) == 1 && (descriptor.revents & POLLOUT) != 0 &&
           ::write(fd_, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  }

  const int fd_;
  std::uint64_t lost_ = 0;
};

}  // namespace

RequestLog::Sink RequestLog::to_descriptor(int fd) {
  return [lines = std::make_shared<HastyLines>(fd)](std::string_view line) { lines->write(line); };
}

void RequestLog::write(const LogLine& line) const {
  sink_(format_ == LogFormat::kJson ? as_json(line) : as_text(line));
}

void RequestLog::problem(std::string_view what) const {
  const std::string text = printable(what, kMostOfPath);
  sink_(format_ == LogFormat::kJson ? nlohmann::ordered_json{{"time", timestamp()}, {"problem", text}}.dump() + '\n'
                                    : fmt::format("{} problem: {}\n", timestamp(), text));
}

}  // namespace kl
