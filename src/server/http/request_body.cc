#include "server/http/request_body.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "server/http/text.h"

namespace kl {

BodyReader::BodyReader(const RequestHead& head, std::size_t max_bytes, const HttpLimits& limits)
    : limits_(limits),
      max_bytes_(max_bytes),
      is_chunked_(head.is_chunked),
      part_(head.is_chunked ? Part::kSize : Part::kData),
      left_(head.content_length) {}

Reading BodyReader::refuse(int status, std::string message) {
  refusal_ = {status, std::move(message)};
  return Reading::kRefused;
}

Reading BodyReader::read(std::string& in, std::string& body) {
  const auto too_large = [this] {
    return refuse(413, fmt::format("body: expected at most {} bytes, got more", max_bytes_));
  };
  if (!is_chunked_ && left_ > max_bytes_) return too_large();
  std::size_t at = 0;
  while (part_ != Part::kDone) {
    if (part_ == Part::kData) {
      const std::size_t n = std::min<std::uint64_t>(left_, in.size() - at);
      body.append(in, at, n);
      at += n;
      left_ -= n;
      if (left_ > 0) break;
      part_ = is_chunked_ ? Part::kDataEnd : Part::kDone;
      continue;
    }
    const std::size_t end = in.find('\n', at);
    const std::size_t line_bytes = std::min(end, in.size()) - at;
    if (overhead_ + line_bytes > limits_.head_bytes) {
      return refuse(400, fmt::format("chunks: expected at most {} bytes of extensions and trailers, got more",
                                     limits_.head_bytes));
    }
    if (part_ == Part::kDataEnd && in.size() - at >= 2 && in.compare(at, 2, "\r\n") != 0) {
      return refuse(400, "chunks: expected as many bytes as announced, got more");
    }
    if (end == in.npos) break;
    if (line_bytes == 0 || in[end - 1] != '\r') return refuse(400, "chunks: expected lines to end in CRLF, got LF");
    if (!take_line(std::string_view(in).substr(at, line_bytes - 1))) return Reading::kRefused;
    if (total_ > max_bytes_) return too_large();
    at = end + 1;
  }
  in.erase(0, at);
  return part_ == Part::kDone ? Reading::kDone : Reading::kMore;
}

/// One line without its CRLF, which is not part of a chunk's data.
bool BodyReader::take_line(std::string_view line) {
  switch (part_) {
    case Part::kSize:
      return size_line(line);
    case Part::kDataEnd:
      part_ = Part::kSize;
      return true;
    default:
      break;
  }
  overhead_ += line.size();
  if (line.empty()) {
    part_ = Part::kDone;
  } else if (const std::size_t colon = line.find(':');
             colon == line.npos || !is_token(line.substr(0, colon)) || !is_field_text(line)) {
    refuse(400, "trailers: expected NAME: VALUE, got something else");
    return false;
  }
  return true;
}

bool BodyReader::size_line(std::string_view line) {
  std::uint64_t size = 0;
  const auto [end, problem] = std::from_chars(line.data(), line.data() + line.size(), size, 16);
  const std::string_view extension = line.substr(static_cast<std::size_t>(end - line.data()));
  if (problem == std::errc::result_out_of_range) {
    refuse(413, "chunks: expected sizes that fit, got one of more than 64 bits");
    return false;
  }
  const bool is_sound =
      problem == std::errc{} && is_field_text(extension) && (extension.empty() || trimmed(extension).starts_with(';'));
  if (!is_sound) {
    refuse(400, "chunks: expected a size in hexadecimal digits, got something else");
    return false;
  }
  overhead_ += extension.size();
  left_ = size;
  total_ = size > max_bytes_ ? size : total_ + size;  // no sum overflows: total_ is at most max_bytes_ here
  part_ = size > 0 ? Part::kData : Part::kTrailer;
  return true;
}

}  // namespace kl
