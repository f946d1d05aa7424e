#pragma once
#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "server/api/conversation.h"

namespace kl {

/// Answers of /v1/responses that later requests may go on from, in memory: the oldest make room for new ones.
/// Thread safety: all methods may be called from any thread.
class ResponseStore {
 public:
  struct Stored {
    Conversation conversation;  ///< without instructions, answer included
    std::string response;       ///< JSON text, as it was given
  };

  explicit ResponseStore(std::size_t max_bytes) : max_bytes_(max_bytes) {}

  /// Keeps an answer, unless it alone exceeds the budget.
  void put(const std::string& id, Stored stored);

  /// The answer, or null if it was never there or has made room.
  std::shared_ptr<const Stored> find(const std::string& id) const;

 private:
  struct Entry {
    std::string id;
    std::shared_ptr<const Stored> stored;
    std::size_t bytes;
  };

  const std::size_t max_bytes_;

  // Guarded by mutex_.
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // the oldest first
  std::map<std::string, std::list<Entry>::iterator> by_id_;
  std::size_t bytes_ = 0;
};

}  // namespace kl
