// Any bytes are a request or a refusal, and the same one however they arrive.  What Boost.Beast's parser,
// an independent one, accepts as well, it reads alike: no request of ours ends elsewhere, which is what smuggling
// needs.
#include <algorithm>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>

#include "server/http/request_body.h"

namespace {

namespace http = boost::beast::http;

constexpr std::size_t kMostBody = 4096;

struct Outcome {
  int status = 0;  // 0: more is wanted
  std::string method, target_path, body;
  kl::Headers headers;
  std::size_t length = 0;  // bytes of the request
  bool operator==(const Outcome&) const = default;
};

Outcome read(const std::string& text, std::size_t piece) {
  static const kl::HttpLimits limits;
  kl::HeadReader head(limits);
  std::optional<kl::BodyReader> body;
  Outcome outcome;
  std::string in;
  for (std::size_t at = 0; at < text.size() && outcome.status == 0; at += piece) {
    in += text.substr(at, piece);
    if (!body) {
      const kl::Reading reading = head.read(in);
      if (reading == kl::Reading::kRefused) outcome.status = head.refusal().status;
      if (reading == kl::Reading::kDone) body.emplace(head.head(), kMostBody, limits);
    }
    if (!body) continue;
    const kl::Reading reading = body->read(in, outcome.body);
    if (reading == kl::Reading::kRefused) outcome.status = body->refusal().status;
    if (reading == kl::Reading::kDone) {
      outcome = {200,          head.head().request.method,  head.head().request.path,
                 outcome.body, head.head().request.headers, std::min(at + piece, text.size()) - in.size()};
    }
  }
  if (outcome.body.size() > kMostBody) std::abort();
  constexpr int kRefused = 400;  // for which of two reasons may depend on what came first
  if (outcome.status >= kRefused) outcome = {.status = kRefused};
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const Outcome whole = read(text, std::max<std::size_t>(size, 1));
  if (read(text, 1) != whole || read(text, 13) != whole) std::abort();
  if (whole.status != 200) return 0;

  http::request_parser<http::string_body> beast;
  beast.eager(true);
  beast.body_limit(kMostBody);
  beast.header_limit(1 << 16);
  boost::beast::error_code error;
  std::size_t at = text.compare(0, 2, "\r\n") == 0 ? 2 : 0;  // an empty line before a request is ours to skip
  while (!beast.is_done() && !error && at < text.size()) {
    at += beast.put(boost::asio::buffer(text.data() + at, text.size() - at), error);
  }
  if (error) return 0;  // it is stricter about fields that decide nothing here
  if (!beast.is_done() || at != whole.length || beast.get().body() != whole.body) std::abort();
  if (beast.get().method_string() != whole.method) std::abort();
  return 0;
}
