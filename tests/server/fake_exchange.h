#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "server/exchange/exchange.h"

namespace kl {

/// An exchange without a network: remembers what was said.  The test is its I/O thread.
class FakeExchange final : public Exchange {
 public:
  explicit FakeExchange(HttpRequest request) : request_(std::move(request)) {}

  const HttpRequest& request() const override { return request_; }
  void reply(int with_status, std::string type, std::string text, Headers extra) override {
    if (!open || ended) return;
    status = with_status;
    content_type = std::move(type);
    body = std::move(text);
    headers = std::move(extra);
    ended = true;
  }
  void begin_stream(std::string type, Headers extra) override {
    if (!open) return;
    status = 200;
    content_type = std::move(type);
    headers = std::move(extra);
    streaming = true;
  }
  void write(std::string bytes) override {
    if (open && !ended) body += bytes;
    ++writes;
  }
  bool is_full() const override { return full; }
  void end() override { ended = true; }
  bool is_open() const override { return open; }
  void post(std::function<void()> work) override {
    {
      const std::lock_guard lock(mutex_);
      posted_.push_back(std::move(work));
    }
    changed_.notify_one();
  }

  /// Does what was posted until `done` or, if it never comes, for ten seconds; true if it came.
  bool run_until(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (true) {
      std::function<void()> work;
      {
        std::unique_lock lock(mutex_);
        if (posted_.empty() && done()) return true;
        if (!changed_.wait_until(lock, deadline, [this] { return !posted_.empty(); })) return done();
        work = std::move(posted_.front());
        posted_.pop_front();
      }
      work();
    }
  }

  /// The client goes.
  void close() {
    open = false;
    if (const auto closed = on_closed; closed && !ended) closed();
  }

  // What the endpoint said.
  int status = 0;
  std::string content_type, body;
  Headers headers;
  bool streaming = false, ended = false;
  int writes = 0;

  // What the client does.
  bool full = false;
  std::atomic<bool> open{true};

 private:
  HttpRequest request_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> posted_;
};

}  // namespace kl
