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

}  // namespace

RequestLog::Sink RequestLog::to_descriptor(int fd) {
  // A pipe that poll() calls writable takes PIPE_BUF bytes at once, and no line is longer.
  return [fd, dropped = std::make_shared<std::uint64_t>(0)](std::string_view line) {
    pollfd descriptor{fd, POLLOUT, 0};
    if (::poll(&descriptor, 1, 0) != 1 || (descriptor.revents & POLLOUT) == 0) {
      ++*dropped;
      return;
    }
    std::string text(line);
    if (*dropped > 0) text += fmt::format("kl: {} lines before this one are missing, as nobody read them\n", *dropped);
    if (::write(fd, text.data(), text.size()) >= 0) *dropped = 0;
  };
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
