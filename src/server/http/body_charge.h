#pragma once
#include <atomic>
#include <cstddef>
#include <utility>

namespace kl {

/// What one request's body takes of the room for all of them, from its first byte until nobody can look at it any more.
///
/// Threads   one at a time, any.
class BodyCharge {
 public:
  BodyCharge() = default;  ///< nothing, of nothing
  explicit BodyCharge(std::atomic<std::size_t>& all) : all_(&all) {}
  BodyCharge(BodyCharge&& other) noexcept
      : all_(std::exchange(other.all_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  ~BodyCharge() {
    if (all_ != nullptr) *all_ -= bytes_;
  }

  void add(std::size_t bytes) {
    *all_ += bytes;
    bytes_ += bytes;
  }

 private:
  std::atomic<std::size_t>* all_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace kl
