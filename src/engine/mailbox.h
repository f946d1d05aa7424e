#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>

#include "kl/engine.h"

namespace kl {

/// Events of one request on their way from the engine's thread to the reader's.
///
/// Bounded by the engine's manners: it draws no further token of a text while is_full().
/// Thread safety: put() and is_full() belong to the engine's thread, everything else to any.
class Mailbox {
 public:
  /// `texts` finished or one failed event end the request.
  Mailbox(int texts, std::size_t room, std::function<void()> notify)
      : unfinished_(texts), room_(room), notify_(std::move(notify)) {}

  void put(EngineEvent event) {
    bool was_empty;
    {
      const std::lock_guard lock(mutex_);
      was_empty = events_.empty();
      events_.push_back(std::move(event));
    }
    arrived_.notify_one();
    if (was_empty && notify_) notify_();
  }

  bool is_full() const {
    const std::lock_guard lock(mutex_);
    return events_.size() >= room_;
  }

  bool take(EngineEvent& event) {
    const std::lock_guard lock(mutex_);
    if (events_.empty()) return false;
    take_front(event);
    return true;
  }

  EngineEvent wait() {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [&] { return !events_.empty(); });
    EngineEvent event;
    take_front(event);
    return event;
  }

  /// Everything was taken.
  bool over() const {
    const std::lock_guard lock(mutex_);
    return unfinished_ == 0;
  }

  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

 private:
  void take_front(EngineEvent& event) {
    event = std::move(events_.front());
    events_.pop_front();
    if (event.kind == EngineEvent::Kind::kFinished) --unfinished_;
    if (event.kind == EngineEvent::Kind::kFailed) unfinished_ = 0;
  }

  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<EngineEvent> events_;
  int unfinished_;
  const std::size_t room_;
  const std::function<void()> notify_;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace kl
