#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace kl {

/// XXH3 in 64 bits of bytes that come in pieces: finds damage at the speed of memory.  It proves nothing about who wrote
/// the bytes; that is for SHA-256 (base/sha256.h).
class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(const Checksum&) = delete;
  Checksum& operator=(const Checksum&) = delete;

  void update(std::span<const std::byte> bytes);
  std::uint64_t value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Of one piece.
std::uint64_t checksum_of(std::span<const std::byte> bytes);

}  // namespace kl
