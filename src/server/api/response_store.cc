#include "server/api/response_store.h"

#include <utility>

namespace kl {

void ResponseStore::put(const std::string& id, Stored stored) {
  constexpr std::size_t kOverhead = 1024;  // of an entry beside its texts
  const std::size_t bytes = 2 * stored.conversation.json().size() + stored.response.size() + kOverhead;
  if (bytes > max_bytes_) return;
  const std::lock_guard lock(mutex_);
  while (bytes_ + bytes > max_bytes_) {
    bytes_ -= entries_.front().bytes;
    by_id_.erase(entries_.front().id);
    entries_.pop_front();
  }
  entries_.push_back({id, std::make_shared<const Stored>(std::move(stored)), bytes});
  by_id_[id] = std::prev(entries_.end());
  bytes_ += bytes;
}

std::shared_ptr<const ResponseStore::Stored> ResponseStore::find(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second->stored;
}

}  // namespace kl
