#pragma once
// Loops that keep one unit of a core busy and do nothing else: what kernels are measured against.
// ISA folders include this header: declarations only (docs/kernels.md).
#include <cstddef>
#include <cstdint>

#include "kl/arithmetic.h"

namespace kl {

/// Independent instructions on registers.
struct PeakLoop {
  const char* isa;          // how the kernel tables that use the instruction begin: "avx2", "avx512"
  const char* instruction;  // "vpdpbusd, 512 bit"
  Arithmetic arithmetic;
  bool (*supported)() noexcept;
  double ops_per_round;  // a multiply-add is two
  void (*run)(std::ptrdiff_t rounds) noexcept;
};

/// Reads `bytes` (a multiple of 256, 64-byte aligned) once, in order; returns something that depends on all of them.
using ReadLoop = std::uint64_t (*)(const void* data, std::ptrdiff_t bytes) noexcept;

namespace avx2 {
extern const PeakLoop peaks[3];
/// A ReadLoop.
std::uint64_t read_once(const void* data, std::ptrdiff_t bytes) noexcept;
}  // namespace avx2
namespace avx512 {
extern const PeakLoop peaks[3];
/// A ReadLoop.
std::uint64_t read_once(const void* data, std::ptrdiff_t bytes) noexcept;
}  // namespace avx512

}  // namespace kl
