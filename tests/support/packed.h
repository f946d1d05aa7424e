#pragma once
// Packed weight matrices with random contents: every byte is a valid pair of quants.
#include <cstring>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/kernels.h"
#include "tests/support/random.h"

namespace kl::test {

/// All formats a tile can have.
inline std::vector<PackedFormat> packed_formats() {
  std::vector<PackedFormat> all;
  for (const std::uint8_t bits : {4, 6, 8}) {
    for (const std::uint8_t group : {16, 32, 64}) {
      for (const bool has_minimum : {false, true}) {
        for (const DType type : {DType::kF16, DType::kBF16, DType::kF32}) {
          const PackedFormat format{bits, group, has_minimum, type};
          if (format.exists()) all.push_back(format);
        }
      }
    }
  }
  return all;
}

inline std::string name_of(const PackedFormat& f) {
  return std::to_string(f.bits) + " bit, group " + std::to_string(f.group) + (f.has_minimum ? ", minima, " : ", ") +
         name_of(f.scale_type);
}

class PackedWeights {
 public:
  WeightMatrix matrix;

  PackedWeights(const PackedFormat& format, std::ptrdiff_t N, std::ptrdiff_t K, Random& random)
      : bytes_(static_cast<std::size_t>(format.matrix_bytes(N, K)) / sizeof(float)) {
    auto* p = reinterpret_cast<std::byte*>(bytes_.data());
    matrix = {p, DType::kPacked, N, K, 0, format};
    for (std::byte* end = p + format.matrix_bytes(N, K); p < end; p += format.tile_bytes()) {
      for (std::ptrdiff_t i = 0; i < format.quant_bytes(); ++i) p[i] = static_cast<std::byte>(random.bits());
      std::byte* scale = p + format.quant_bytes();
      for (; scale < p + format.tile_bytes(); scale += size_of(format.scale_type))
        put(format.scale_type, random, scale);
    }
  }

 private:
  static void put(DType type, Random& random, std::byte* to) {
    const auto x = static_cast<float>(random.uniform(-0.02, 0.02));
    // f16: a random sign, exponent 2^-10 .. 2^-3 and fraction
    const auto f16 = static_cast<std::uint16_t>((random.bits() & 0x9fffu) | 0x1400u);
    const std::uint16_t half = type == DType::kBF16 ? f32_to_bf16(x) : f16;
    if (type == DType::kF32) {
      std::memcpy(to, &x, 4);
    } else {
      std::memcpy(to, &half, 2);
    }
  }

  AlignedBuffer bytes_;
};

/// Rows quantised one after the other, as MatmulArgs::q wants them.
class QuantizedRows {
 public:
  QuantizedRows(const Kernels& kernels, const std::vector<float>& x, std::ptrdiff_t M, std::ptrdiff_t K)
      : bytes_(static_cast<std::size_t>(M * ActivationRow::bytes(K)) / sizeof(float)),
        size_(static_cast<std::size_t>(M * ActivationRow::bytes(K))) {
    const std::ptrdiff_t stride = static_cast<std::ptrdiff_t>(x.size()) / M;
    std::memset(bytes_.data(), 0, size_);
    for (std::ptrdiff_t m = 0; m < M; ++m)
      kernels.quantize_row(x.data() + m * stride, K,
                           reinterpret_cast<std::byte*>(bytes_.data()) + m * ActivationRow::bytes(K), 0, K);
  }
  const std::byte* data() const { return reinterpret_cast<const std::byte*>(bytes_.data()); }
  std::string bytes() const { return {reinterpret_cast<const char*>(bytes_.data()), size_}; }

 private:
  AlignedBuffer bytes_;
  std::size_t size_;
};

}  // namespace kl::test
