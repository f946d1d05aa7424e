#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/api/backend.h"

namespace kl {

/// An engine that says what a test tells it to.
class FakeBackend final : public Backend {
 public:
  FakeBackend() {
    options_.parallel = 4;
    options_.ctx_size = 4096;
    options_.max_queue = 64;
    args_.vocab_size = 1024;
    args_.model_max_length = 4096;
  }

  /// The events of a request, taken one after another.
  std::function<std::vector<EngineEvent>(const EngineRequest&)> script;

  /// Events that come only when a test calls this.
  void say(EngineEvent event) {
    live_->events.push_back(std::move(event));
    live_->notify();
  }

  std::unique_ptr<Generation> submit(EngineRequest request, std::function<void()> notify) override {
    if (busy) throw Error(ErrorCode::kBusy, "queue: expected room for one more request, got 64 that wait");
    auto feed = std::make_shared<Feed>();
    for (EngineEvent& event : script ? script(request) : std::vector<EngineEvent>())
      feed->events.push_back(std::move(event));
    feed->notify = std::move(notify);
    live_ = feed;
    requests.push_back(std::move(request));
    return std::make_unique<FakeGeneration>(*this, std::move(feed));
  }

  std::vector<SlotInfo> slots() const override {
    return {{.id = 0,
             .busy = true,
             .request = 7,
             .prompt_tokens = 5,
             .prompt_done = 5,
             .generated_tokens = 2,
             .ctx_size = 4096},
            {.id = 1, .ctx_size = 4096}};
  }
  Engine::SavedSession save_slot(int, const std::filesystem::path& file) override {
    files.push_back(file);
    return {.tokens = 12, .bytes = 3456};
  }
  Engine::SavedSession restore_slot(int, const std::filesystem::path& file) override {
    files.push_back(file);
    throw Error(ErrorCode::kNotFound, file.string() + ": expected a session, got no such file");
  }
  std::int64_t erase_slot(int) override {
    if (on_erase) on_erase();
    return 12;
  }
  const EngineOptions& options() const override { return options_; }
  const ModelArgs& args() const override { return args_; }

  bool busy = false;
  std::function<void()> on_erase;            ///< called by the worker that reads the request
  std::vector<EngineRequest> requests;       ///< submitted so far
  std::vector<std::filesystem::path> files;  ///< that sessions went to
  int abandoned = 0;                         ///< generations dropped before they were over
  int alive = 0;

 private:
  struct Feed {
    std::deque<EngineEvent> events;
    std::function<void()> notify;
    int unfinished = 1;
  };

  class FakeGeneration final : public Generation {
   public:
    FakeGeneration(FakeBackend& backend, std::shared_ptr<Feed> feed) : backend_(backend), feed_(std::move(feed)) {
      feed_->unfinished = backend_.requests.back().n;
      ++backend_.alive;
    }
    ~FakeGeneration() override {
      --backend_.alive;
      if (feed_->unfinished > 0) ++backend_.abandoned;
    }
    bool poll(EngineEvent& event) override {
      if (feed_->events.empty()) return false;
      event = std::move(feed_->events.front());
      feed_->events.pop_front();
      if (event.kind == EngineEvent::Kind::kFinished) --feed_->unfinished;
      return true;
    }
    EngineEvent wait() override { throw std::logic_error("endpoints never wait"); }
    bool over() const override { return feed_->unfinished == 0; }
    void cancel() override { feed_->events.clear(); }
    std::uint64_t id() const override { return 1; }

   private:
    FakeBackend& backend_;
    std::shared_ptr<Feed> feed_;
  };

  EngineOptions options_;
  ModelArgs args_;
  std::shared_ptr<Feed> live_;
};

}  // namespace kl
