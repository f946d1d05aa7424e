#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

namespace kl {

/// Zero-filled f32 memory on a cache-line border.  Copying copies the contents.
///
/// From kMapped bytes on it is mapped, in 2 MiB pages where the system has them (fewer address translations: a layer's
/// activations are many rows apart).  A page then takes memory when it is first written, near the thread that writes it.
class AlignedBuffer {
 public:
  static constexpr std::size_t kAlignment = 64;

  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t size) : size_(size), data_(allocate(size), Free{size, nullptr}) {}
  /// Memory that `owner` keeps: `size` floats at `data`, on a cache-line border.  Nobody else may write to it.
  AlignedBuffer(std::shared_ptr<const void> owner, float* data, std::size_t size)
      : size_(size), data_(data, Free{size, std::move(owner)}) {}
  AlignedBuffer(const AlignedBuffer& other) : AlignedBuffer(other.size_) {
    if (size_ > 0) std::memcpy(data_.get(), other.data_.get(), size_ * sizeof(float));
  }
  AlignedBuffer(AlignedBuffer&& other) noexcept : size_(other.size_), data_(std::move(other.data_)) { other.size_ = 0; }
  AlignedBuffer& operator=(AlignedBuffer other) noexcept {
    std::swap(size_, other.size_);
    data_.swap(other.data_);
    return *this;
  }

  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  std::size_t size() const { return size_; }  ///< floats

 private:
  static constexpr std::size_t kMapped = std::size_t{4} << 20;

  struct Free {
    Free() {}
    Free(std::size_t n, std::shared_ptr<const void> o) : size(n), owner(std::move(o)) {}
    std::size_t size = 0;
    std::shared_ptr<const void> owner;  // null: the memory is ours
    void operator()(float* p) const {
      if (owner) return;
      if (size * sizeof(float) >= kMapped) {
        ::munmap(p, size * sizeof(float));
      } else {
        ::operator delete (p, std::align_val_t{kAlignment});
      }
    }
  };

  static float* allocate(std::size_t size) {
    const std::size_t bytes = size * sizeof(float);
    if (bytes == 0) return nullptr;
    if (bytes < kMapped)
      return static_cast<float*>(std::memset(::operator new (bytes, std::align_val_t{kAlignment}), 0, bytes));
    void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    ::madvise(p, bytes, MADV_HUGEPAGE);  // no more than a wish
    return static_cast<float*>(p);
  }

  std::size_t size_ = 0;
  std::unique_ptr<float, Free> data_;
};

}  // namespace kl
