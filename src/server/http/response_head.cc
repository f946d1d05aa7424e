#include "server/http/response_head.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <iterator>
#include <map>

#include "server/http/text.h"

namespace kl {
namespace {

/// RFC 9110's date, for now: "Sun, 06 Nov 1994 08:49:37 GMT".
std::string date() {
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[utc.tm_wday], utc.tm_mday, kMonths[utc.tm_mon],
                     utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

bool is_named(const Headers& fields, std::string_view name) {
  return std::any_of(fields.begin(), fields.end(),
                     [&](const auto& field) { return lower_case(field.first) == lower_case(name); });
}

}  // namespace

std::string status_text(int status) {
  static const std::map<int, const char*> kReasons = {{100, "Continue"},
                                                      {200, "OK"},
                                                      {204, "No Content"},
                                                      {304, "Not Modified"},
                                                      {400, "Bad Request"},
                                                      {401, "Unauthorized"},
                                                      {403, "Forbidden"},
                                                      {404, "Not Found"},
                                                      {405, "Method Not Allowed"},
                                                      {408, "Request Timeout"},
                                                      {409, "Conflict"},
                                                      {413, "Content Too Large"},
                                                      {414, "URI Too Long"},
                                                      {415, "Unsupported Media Type"},
                                                      {417, "Expectation Failed"},
                                                      {422, "Unprocessable Content"},
                                                      {429, "Too Many Requests"},
                                                      {431, "Request Header Fields Too Large"},
                                                      {500, "Internal Server Error"},
                                                      {501, "Not Implemented"},
                                                      {503, "Service Unavailable"},
                                                      {504, "Gateway Timeout"},
                                                      {505, "HTTP Version Not Supported"}};
  const auto found = kReasons.find(status);
  return fmt::format("{} {}", status, found == kReasons.end() ? "Status" : found->second);
}

std::string response_head(const ResponseHead& head) {
  Headers fields = head.fields;
  const auto unless_named = [&](const char* name, std::string value) {
    if (!is_named(head.fields, name)) fields.emplace_back(name, std::move(value));
  };
  fields.emplace_back("Date", date());
  if (!head.content_type.empty()) fields.emplace_back("Content-Type", head.content_type);
  if (head.content_length) fields.emplace_back("Content-Length", std::to_string(*head.content_length));
  if (head.is_chunked) fields.emplace_back("Transfer-Encoding", "chunked");
  if (head.close) fields.emplace_back("Connection", "close");
  unless_named("Cache-Control", "no-store");
  unless_named("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
  unless_named("Referrer-Policy", "no-referrer");
  unless_named("X-Content-Type-Options", "nosniff");
  std::string text = fmt::format("HTTP/1.1 {}\r\n", status_text(head.status));
  for (auto& [name, value] : fields) {
    std::replace_if(
        value.begin(), value.end(), [](char c) { return c == '\r' || c == '\n' || c == '\0'; }, ' ');
    fmt::format_to(std::back_inserter(text), "{}: {}\r\n", name, value);
  }
  return text + "\r\n";
}

}  // namespace kl
