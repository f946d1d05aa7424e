#pragma once
// What one core of this machine can do at most, measured in the same process as the kernels.
#include <cstddef>

namespace kl::bench {

/// Reads `bytes` once, in order, with wide loads; returns something that depends on them.
float read_once(const void* data, std::ptrdiff_t bytes);

/// Runs n x 96 AVX2 FMA on registers (16 floating point operations each).
void multiply_in_registers(std::ptrdiff_t n);

/// Does this CPU run the functions above?
bool has_limits();

/// Runs n x 96 AVX-512 FMA on registers (32 floating point operations each).
void multiply_in_wide_registers(std::ptrdiff_t n);

/// Does this CPU run that one?
bool has_wide_registers();

}  // namespace kl::bench
