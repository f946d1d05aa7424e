#pragma once
#include <cstddef>
#include <cstdlib>

#include "base/aligned_buffer.h"

namespace kl {

/// Scratch memory of one forward pass: buffers are taken one after the other and given back all at once.
///
/// The same code that takes the buffers also measures how much they need: an Arena without memory hands out no
/// addresses but counts.  So a pass that fits the plan never allocates:
///
///     Arena measure;  { ArenaScope scope(measure);  Buffers b(measure, dims, T); }
///     Arena arena(measure.peak());
class Arena {
 public:
  Arena() = default;  ///< measures only: take() returns nullptr
  explicit Arena(std::size_t capacity_floats) : memory_(capacity_floats), measuring_(false) {}

  /// `count` floats on a cache-line border, contents undefined.
  float* take(std::ptrdiff_t count) {
    constexpr std::size_t line = AlignedBuffer::kAlignment / sizeof(float);
    const std::size_t at = used_;
    used_ += (static_cast<std::size_t>(count) + line - 1) / line * line;
    if (used_ > peak_) peak_ = used_;
    if (measuring_) return nullptr;
    if (used_ > memory_.size())
      std::abort();  // our bug: a plan that asks for less than is used; never write past the end
    return memory_.data() + at;
  }

  std::size_t peak() const { return peak_; }               ///< most floats ever taken at once
  std::size_t capacity() const { return memory_.size(); }  ///< floats

 private:
  friend class ArenaScope;
  AlignedBuffer memory_;
  bool measuring_ = true;
  std::size_t used_ = 0;
  std::size_t peak_ = 0;
};

/// Gives back what was taken from the arena during its lifetime.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.used_) {}
  ~ArenaScope() { arena_.used_ = mark_; }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  std::size_t mark_;
};

}  // namespace kl
