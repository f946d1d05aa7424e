#pragma once
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <type_traits>

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

  /// Memory for buffers of `bytes` in all, as peak() measured them.
  explicit Arena(std::size_t bytes) : memory_(bytes / sizeof(float)), measuring_(false) {}

  /// `count` objects on a cache-line border, contents undefined.
  template <class T>
  T* take(std::ptrdiff_t count) {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= kLine, "lives where nobody constructs it");
    const std::size_t at = used_;
    used_ += (static_cast<std::size_t>(count) * sizeof(T) + kLine - 1) / kLine * kLine;
    if (used_ > peak_) peak_ = used_;
    if (measuring_) return nullptr;
    if (used_ > memory_.size() * sizeof(float))
      std::abort();  // our bug: a plan that asks for less than is used; never write past the end
    return reinterpret_cast<T*>(memory_.data() + at / sizeof(float));
  }

  std::size_t peak() const { return peak_; }  ///< most bytes ever taken at once, whole cache lines

 private:
  friend class ArenaScope;
  static constexpr std::size_t kLine = AlignedBuffer::kAlignment;

  AlignedBuffer memory_;
  bool measuring_ = true;
  std::size_t used_ = 0;  // bytes
  std::size_t peak_ = 0;
};

/// Gives back what was taken from the arena during its lifetime.
class ArenaScope {
 public:
  /// From now on.
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.used_) {}
  ~ArenaScope() { arena_.used_ = mark_; }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  std::size_t mark_;
};

/// `count` objects in an arena that take buffers of their own from it, by a constructor T(arena, dims...): one for each
/// worker, say.
template <class T>
class ArenaArray {
 public:
  ArenaArray() = default;

  /// Takes all of them, each with the same dims.
  template <class... Dims>
  ArenaArray(Arena& arena, std::ptrdiff_t count, const Dims&... dims) : items_(arena.take<T>(count)) {
    for (std::ptrdiff_t i = 0; i < count; ++i) {
      const T item(arena, dims...);
      if (items_ != nullptr) std::construct_at(items_ + i, item);
    }
  }

  const T& operator[](std::ptrdiff_t i) const { return items_[i]; }  ///< REQUIRES: an arena with memory

 private:
  T* items_ = nullptr;
};

}  // namespace kl
