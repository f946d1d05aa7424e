#pragma once
// Asking for weights before they are needed.
#include <cstddef>

#include "kernels/kernels.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

/// Bytes to pull into L2 while others are used: those up to `end`, then those from `then` on, `step` at a time.
struct Ahead {
  const std::byte* at = nullptr;  // nullptr: nothing (more)
  const std::byte* end = nullptr;
  const std::byte* then = nullptr;
  std::ptrdiff_t step = 0;

  /// Begins `distance` bytes behind `from`, which may be beyond the end.
  void begin(const std::byte* from, std::ptrdiff_t distance) {
    const std::ptrdiff_t left = end - from;
    at = distance < left ? from + distance : then ? then + (distance - left) : nullptr;
    if (distance >= left) end = nullptr;
  }

  /// The next `step` bytes.
  void pull() {
    if (at == nullptr) return;
    for (std::ptrdiff_t i = 0; i < step; i += 64, at += 64) {
      if (at == end) {
        at = then;
        if (at == nullptr) return;
      }
      __builtin_prefetch(at, 0, 2);
    }
  }
};

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
