#include "server/page/page.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>

#include "server/page/page_files.h"

namespace kl {
namespace {

const std::filesystem::path kFolder = std::filesystem::path(KL_SOURCE_DIR) / "src/server/page";

std::string bytes_of(const std::filesystem::path& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

/// Keeps the one reply that a page's endpoint gives.
class Recorder : public Exchange {
 public:
  const HttpRequest& request() const override { return request_; }
  void reply(int code, std::string type, std::string bytes, Headers extra) override {
    status = code;
    content_type = std::move(type);
    body = std::move(bytes);
    headers.insert(extra.begin(), extra.end());
  }
  void begin_stream(std::string, Headers) override { FAIL(); }
  void write(std::string) override { FAIL(); }
  bool is_full() const override { return false; }
  void end() override { FAIL(); }
  bool is_open() const override { return true; }
  void post(std::function<void()>) override { FAIL(); }

  int status = 0;
  std::string content_type, body;
  std::map<std::string, std::string> headers;

 private:
  HttpRequest request_;
};

TEST(Page, HoldsEveryFileOfItsFolderButTheSourcesByteForByte) {
  std::map<std::string, std::string> expected, held;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    const std::filesystem::path& path = entry.path();
    if (path.extension() != ".h" && path.extension() != ".cc") expected[path.filename()] = bytes_of(path);
  }
  for (const PageFile& file : page_files()) held[std::string(file.name)] = file.bytes;
  EXPECT_EQ(held, expected);
}

TEST(Page, EveryFileIsServedWithThePolicy) {
  std::map<std::string, std::string> types;
  for (const Route& route : page_routes()) {
    const auto exchange = std::make_shared<Recorder>();
    route.endpoint(exchange);
    EXPECT_EQ(route.method, "GET");
    EXPECT_EQ(exchange->status, 200);
    EXPECT_EQ(exchange->body, bytes_of(kFolder / (route.path == "/" ? "index.html" : route.path.substr(1))));
    EXPECT_TRUE(exchange->headers["Content-Security-Policy"].starts_with("default-src 'none'; script-src 'self';"));
    EXPECT_EQ(exchange->headers["X-Content-Type-Options"], "nosniff");
    types[route.path] = exchange->content_type;
  }
  EXPECT_EQ(types["/"], "text/html; charset=utf-8");
  EXPECT_EQ(types["/main.js"], "text/javascript; charset=utf-8");
  EXPECT_EQ(types["/style.css"], "text/css; charset=utf-8");
  EXPECT_EQ(types["/icon.svg"], "image/svg+xml");
}

}  // namespace
}  // namespace kl
