#include "server/http/request_head.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "server/http/text.h"

namespace kl {
namespace {

constexpr std::size_t kRequestLineBesidesTarget = 64;  // method, two spaces, version

/// Fields of which two would mean two things.
constexpr std::string_view kOnlyOnce[] = {"host",         "content-length", "content-type", "authorization",
                                          "x-api-key",    "expect",         "origin",       "content-encoding",
                                          "x-request-id", "traceparent"};

/// host, host:port, [v6] or [v6]:port
bool is_authority(std::string_view text) {
  constexpr std::string_view kMarks = "-._~!$&'()*+,;=%";
  const bool is_bracketed = !text.empty() && text.front() == '[';
  const std::size_t colon = is_bracketed ? text.find(':', std::min(text.find(']'), text.size())) : text.find(':');
  const std::string_view host = text.substr(0, std::min(colon, text.size()));
  const std::string_view port = colon < text.size() ? text.substr(colon + 1) : std::string_view();
  const auto is_alnum = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  if (!std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; })) return false;
  if (is_bracketed) {
    return host.size() > 2 && host.back() == ']' &&
           std::all_of(host.begin() + 1, host.end() - 1, [&](char c) { return is_alnum(c) || c == ':' || c == '.'; });
  }
  return !host.empty() &&
         std::all_of(host.begin(), host.end(), [&](char c) { return is_alnum(c) || kMarks.find(c) != kMarks.npos; });
}

}  // namespace

std::optional<std::string_view> field_value(const Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

Reading HeadReader::refuse(int status, std::string message) {
  refusal_ = {status, std::move(message)};
  return Reading::kRefused;
}

Reading HeadReader::read(std::string& in) {
  std::size_t taken = 0;
  std::optional<Reading> outcome;
  while (!outcome) {
    const std::size_t end = in.find('\n', taken + searched_);
    const std::size_t line_bytes = std::min(end, in.size()) - taken;
    if (!has_request_line_ && line_bytes > limits_.target_bytes + kRequestLineBesidesTarget) {
      return refuse(414,
                    fmt::format("request line: expected a target of at most {} bytes, got more", limits_.target_bytes));
    }
    if (bytes_ + line_bytes > limits_.head_bytes) {
      return refuse(431, fmt::format("headers: expected at most {} bytes, got more", limits_.head_bytes));
    }
    if (end == in.npos) {
      std::string_view fresh = std::string_view(in).substr(taken + searched_);
      if (fresh.ends_with('\r')) fresh.remove_suffix(1);
      if (!is_field_text(fresh)) return refuse(400, "headers: expected text, got control characters");
      searched_ = in.size() - taken - (in.ends_with('\r') ? 1 : 0);
      break;
    }
    searched_ = 0;
    bytes_ += line_bytes + 1;
    if (line_bytes == 0 || in[end - 1] != '\r') return refuse(400, "headers: expected lines to end in CRLF, got LF");
    const std::string_view line = std::string_view(in).substr(taken, line_bytes - 1);
    if (!is_field_text(line)) return refuse(400, "headers: expected text, got control characters");
    outcome = take_line(line);
    taken = end + 1;
  }
  in.erase(0, taken);
  return outcome.value_or(Reading::kMore);
}

/// One line without its CRLF.  Nothing: go on.
std::optional<Reading> HeadReader::take_line(std::string_view line) {
  if (!has_request_line_) {
    if (line.empty() && !std::exchange(skipped_line_, true)) return {};  // RFC 9112, 2.2
    has_request_line_ = true;
    if (!request_line(line)) return Reading::kRefused;
    return {};
  }
  if (!line.empty()) {
    if (!field(line)) return Reading::kRefused;
    return {};
  }
  return check_fields() && check_framing() ? Reading::kDone : Reading::kRefused;
}

bool HeadReader::request_line(std::string_view line) {
  const std::size_t first = line.find(' '), last = line.rfind(' ');
  const bool has_three_parts = first != line.npos && first != last && line.find(' ', first + 1) == last;
  if (!has_three_parts || !is_token(line.substr(0, first))) {
    refuse(400, "request line: expected METHOD TARGET HTTP/1.1, got something else");
    return false;
  }
  const std::string_view version = line.substr(last + 1);
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (version.size() != 8 || !version.starts_with("HTTP/") || !is_digit(version[5]) || version[6] != '.' ||
      !is_digit(version[7])) {
    refuse(400, "request line: expected HTTP/1.1 at its end, got something else");
    return false;
  }
  head_.request.method = line.substr(0, first);
  head_.is_http_1_0 = version == "HTTP/1.0";
  head_.keep_alive = !head_.is_http_1_0;
  if (version[5] != '1') {
    refuse(505, "request line: expected HTTP/1.1, got another version");
    return false;
  }
  return target(line.substr(first + 1, last - first - 1));
}

bool HeadReader::target(std::string_view target) {
  const auto is_visible = [](char c) { return c > ' ' && c < 127 && c != '#'; };
  if (target.size() > limits_.target_bytes) {
    refuse(414, fmt::format("target: expected at most {} bytes, got {}", limits_.target_bytes, target.size()));
    return false;
  }
  HttpRequest& request = head_.request;
  if (request.method == "CONNECT") {
    refuse(501, "method: expected one that a server knows, got CONNECT");
    return false;
  }
  if (target == "*" && request.method == "OPTIONS") {
    request.path.push_back('*');
    return true;
  }
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (lower_case(target.substr(0, scheme.size())) != scheme) continue;
    target.remove_prefix(scheme.size());
    const std::size_t end = std::min(target.find_first_of("/?"), target.size());
    request.headers.emplace_back("host", target.substr(0, end));  // replaces the field's (RFC 9112, 3.2.2)
    target.remove_prefix(end);
    is_absolute_ = true;
    break;
  }
  const std::size_t question = std::min(target.find('?'), target.size());
  std::string_view path = target.substr(0, question);
  if (is_absolute_ && path.empty()) path = "/";
  auto decoded = percent_decoded(path);
  auto query = query_fields(target.substr(std::min(question + 1, target.size())));
  if (!path.starts_with('/') || !decoded || !query || !std::all_of(target.begin(), target.end(), is_visible)) {
    refuse(400, "target: expected a path of visible ASCII characters and sound %XX, got something else");
    return false;
  }
  request.path = std::move(*decoded);
  request.query = std::move(*query);
  return true;
}

bool HeadReader::field(std::string_view line) {
  const std::size_t colon = std::min(line.find(':'), line.size());
  const std::string_view name = line.substr(0, colon);
  if (colon == line.size() || !is_token(name) || !is_field_text(line)) {
    refuse(400, "headers: expected NAME: VALUE, got something else");  // folded lines begin with no token
    return false;
  }
  Headers& headers = head_.request.headers;
  if (headers.size() >= limits_.head_fields) {
    refuse(431, fmt::format("headers: expected at most {}, got more", limits_.head_fields));
    return false;
  }
  headers.emplace_back(lower_case(name), trimmed(line.substr(colon + 1)));
  return true;
}

bool HeadReader::check_fields() {
  Headers& headers = head_.request.headers;
  const auto count = [&](std::string_view name) {
    return std::count_if(headers.begin(), headers.end(), [&](const auto& field) { return field.first == name; });
  };
  if (is_absolute_ && count("host") == 2) {  // the target's stands before the field, which is to be ignored
    headers.erase(std::find_if(headers.begin() + 1, headers.end(), [](const auto& f) { return f.first == "host"; }));
  }
  for (const std::string_view name : kOnlyOnce) {
    if (count(name) <= 1) continue;
    refuse(400, fmt::format("headers: expected {} once, got it more often", name));
    return false;
  }
  const auto host = field_value(headers, "host");
  if ((!host && !head_.is_http_1_0) || (host && !is_authority(*host))) {
    refuse(400, "host: expected a host in every request, got none or something else");
    return false;
  }
  for (const auto& [name, value] : headers) {
    if (name != "connection") continue;
    for (const std::string_view option : comma_list(value)) {
      const std::string lower = lower_case(option);
      if (lower == "close") head_.keep_alive = false;
      if (lower == "keep-alive" && head_.is_http_1_0) head_.keep_alive = true;
    }
  }
  if (const auto expect = field_value(headers, "expect"); expect && !head_.is_http_1_0) {
    head_.expects_continue = lower_case(*expect) == "100-continue";
    if (!head_.expects_continue) refuse(417, "expect: expected 100-continue, got something else");
    return head_.expects_continue;
  }
  return true;
}

bool HeadReader::check_framing() {
  std::vector<std::string> codings;
  bool has_codings = false;
  for (const auto& [name, value] : head_.request.headers) {
    if (name != "transfer-encoding") continue;
    has_codings = true;
    for (const std::string_view coding : comma_list(value)) codings.push_back(lower_case(coding));
  }
  const auto length = field_value(head_.request.headers, "content-length");
  if (has_codings) {
    const bool ends_chunked = !codings.empty() && codings.back() == "chunked";
    const bool is_chunked_twice = std::count(codings.begin(), codings.end(), "chunked") > 1;
    if (length || head_.is_http_1_0 || !ends_chunked || is_chunked_twice) {
      refuse(400, "transfer-encoding: expected chunked, and no content-length beside it, got something else");
      return false;
    }
    if (codings.size() > 1) {
      refuse(501, "transfer-encoding: expected chunked alone, got other codings");
      return false;
    }
    head_.is_chunked = true;
  }
  if (length) {
    const auto [end, problem] = std::from_chars(length->data(), length->data() + length->size(), head_.content_length);
    const bool is_number = !length->empty() && end == length->data() + length->size();  // from_chars takes no sign
    if (!is_number || problem == std::errc::invalid_argument) {
      refuse(400, "content-length: expected a number, got something else");
      return false;
    }
    if (problem == std::errc::result_out_of_range) {
      refuse(413, "content-length: expected a body that fits, got more than 64 bits count");
      return false;
    }
  }
  const auto encoding = field_value(head_.request.headers, "content-encoding");
  if (encoding && lower_case(*encoding) != "identity") {
    refuse(415, "content-encoding: expected none, as bodies are taken as they are, got one");
    return false;
  }
  return true;
}

}  // namespace kl
