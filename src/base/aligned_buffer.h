#pragma once
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

namespace kl {

/// Zero-filled f32 memory on a cache-line border.  Copying copies the contents.
class AlignedBuffer {
 public:
  static constexpr std::size_t kAlignment = 64;

  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t size) : size_(size), data_(allocate(size)) {
    if (size_ > 0) std::memset(data_.get(), 0, size_ * sizeof(float));
  }
  /// Memory with any contents, for whoever writes all of it: its pages are first touched by the threads that do.
  static AlignedBuffer uninitialised(std::size_t size) {
    AlignedBuffer buffer;
    buffer.size_ = size;
    buffer.data_.reset(allocate(size));
    return buffer;
  }
  AlignedBuffer(const AlignedBuffer& other) : size_(other.size_), data_(allocate(other.size_)) {
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
  struct Free {
    void operator()(float* p) const { ::operator delete (p, std::align_val_t{kAlignment}); }
  };
  static float* allocate(std::size_t size) {
    return size == 0 ? nullptr
                     : static_cast<float*>(::operator new (size * sizeof(float), std::align_val_t{kAlignment}));
  }

  std::size_t size_ = 0;
  std::unique_ptr<float, Free> data_;
};

}  // namespace kl
