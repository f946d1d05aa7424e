#include "verify/number_layout.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "base/dtype.h"
#include "packing/packed_name.h"

namespace kl {
namespace {

struct Named {
  std::string_view dtype;
  NumberType type;
};
constexpr Named kFloats[] = {{"F64", NumberType::kF64},        {"F32", NumberType::kF32},
                             {"F16", NumberType::kF16},        {"BF16", NumberType::kBF16},
                             {"F8_E4M3", NumberType::kF8E4M3}, {"F8_E5M2", NumberType::kF8E5M2},
                             {"F8_E8M0", NumberType::kF8E8M0}};

/// Blocks of ggml: bytes of one, and where its f16 scale, and minimum or scale of the minima, lie.
struct GgmlBlock {
  std::string_view dtype;
  std::size_t bytes;
  std::vector<NumberLayout::Run> runs;
};

/// Source  ggml-common.h.
const std::vector<GgmlBlock>& ggml_blocks() {
  static const std::vector<GgmlBlock> blocks = {
      {"Q4_0", 18, {{0, 1}}},    {"Q4_1", 20, {{0, 2}}},    {"Q5_0", 22, {{0, 1}}},    {"Q5_1", 24, {{0, 2}}},
      {"Q8_0", 34, {{0, 1}}},    {"Q2_K", 84, {{80, 2}}},   {"Q3_K", 110, {{108, 1}}}, {"Q4_K", 144, {{0, 2}}},
      {"Q5_K", 176, {{0, 2}}},   {"Q6_K", 210, {{208, 1}}}, {"IQ4_NL", 18, {{0, 1}}},  {"IQ4_XS", 136, {{0, 1}}},
      {"IQ2_XXS", 66, {{0, 1}}}, {"IQ2_XS", 74, {{0, 1}}},  {"IQ2_S", 82, {{0, 1}}},   {"IQ3_XXS", 98, {{0, 1}}},
      {"IQ3_S", 110, {{0, 1}}},  {"IQ1_S", 50, {{0, 1}}},
  };
  return blocks;
}

/// 1 sign, 4 exponent (bias 7), 3 fraction bits; no infinities, NaN is all ones.
float f8_e4m3(unsigned b) {
  const unsigned exponent = b >> 3 & 15u, fraction = b & 7u;
  if ((b & 0x7fu) == 0x7fu) return std::numeric_limits<float>::quiet_NaN();
  const float x = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -9)
                                : std::ldexp(static_cast<float>(8 + fraction), static_cast<int>(exponent) - 10);
  return (b & 0x80u) != 0 ? -x : x;
}

/// The upper half of an f16.
float f8_e5m2(unsigned b) { return f16_to_f32(static_cast<std::uint16_t>(b << 8)); }

/// 2^(b - 127); 255 is NaN.
float f8_e8m0(unsigned b) {
  return b == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, static_cast<int>(b) - 127);
}

template <class T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

void widen(NumberType type, const std::byte* p, std::size_t n, float* out) noexcept {
  switch (type) {
    case NumberType::kF64:
      for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<float>(load<double>(p + 8 * i));
      break;
    case NumberType::kF32:
      std::memcpy(out, p, 4 * n);
      break;
    case NumberType::kF16:
      for (std::size_t i = 0; i < n; ++i) out[i] = f16_to_f32(load<std::uint16_t>(p + 2 * i));
      break;
    case NumberType::kBF16:
      for (std::size_t i = 0; i < n; ++i) out[i] = bf16_to_f32(load<std::uint16_t>(p + 2 * i));
      break;
    case NumberType::kF8E4M3:
      for (std::size_t i = 0; i < n; ++i) out[i] = f8_e4m3(std::to_integer<unsigned>(p[i]));
      break;
    case NumberType::kF8E5M2:
      for (std::size_t i = 0; i < n; ++i) out[i] = f8_e5m2(std::to_integer<unsigned>(p[i]));
      break;
    case NumberType::kF8E8M0:
      for (std::size_t i = 0; i < n; ++i) out[i] = f8_e8m0(std::to_integer<unsigned>(p[i]));
      break;
    case NumberType::kNone:
      break;
  }
}

NumberType type_of(DType type) {
  return type == DType::kF32 ? NumberType::kF32 : type == DType::kF16 ? NumberType::kF16 : NumberType::kBF16;
}

}  // namespace

std::size_t NumberLayout::bytes_of(NumberType type) {
  switch (type) {
    case NumberType::kF64:
      return 8;
    case NumberType::kF32:
      return 4;
    case NumberType::kF16:
    case NumberType::kBF16:
      return 2;
    default:
      return 1;
  }
}

std::size_t NumberLayout::numbers_per_block() const {
  std::size_t n = 0;
  for (const Run& run : runs) n += run.count;
  return n;
}

NumberLayout number_layout(std::string_view name, const FileTensor& tensor) {
  const std::string_view dtype = tensor.dtype;
  for (const Named& named : kFloats) {
    if (named.dtype == dtype) return {named.type, NumberLayout::bytes_of(named.type), {{0, 1}}};
  }
  if (dtype == "U8") {
    if (const auto f = parse_packed_suffix(name.substr(name.rfind('.') + 1))) {
      const auto scales = static_cast<std::size_t>(f->tile_bytes() - f->quant_bytes()) / size_of(f->scale_type);
      return {type_of(f->scale_type),
              static_cast<std::size_t>(f->tile_bytes()),
              {{static_cast<std::size_t>(f->quant_bytes()), scales}}};
    }
  }
  for (const GgmlBlock& block : ggml_blocks()) {
    if (block.dtype == dtype) return {NumberType::kF16, block.bytes, block.runs};
  }
  return {};
}

std::size_t read_numbers(const NumberLayout& layout, const std::byte* data, std::size_t blocks, float* out) noexcept {
  if (layout.is_plain()) {
    widen(layout.type, data, blocks, out);
    return blocks;
  }
  std::size_t n = 0;
  for (std::size_t b = 0; b < blocks; ++b, data += layout.block_bytes) {
    for (const NumberLayout::Run& run : layout.runs) {
      widen(layout.type, data + run.at, run.count, out + n);
      n += run.count;
    }
  }
  return n;
}

}  // namespace kl
