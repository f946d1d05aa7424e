#include "gguf/ggml_blocks.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>

#include "base/numbers.h"
#include "gguf/ggml_type.h"

namespace kl {
namespace {

// The names of the variables are ggml's: d and m scale and minimum, qs the low bits of the numbers, qh their high bits.

using Bytes = const std::uint8_t*;

/// The 16 values that a number of IQ4_NL and IQ4_XS stands for.
constexpr std::int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

float half(Bytes p) { return f16_to_f32(static_cast<std::uint16_t>(p[0] | p[1] << 8)); }

/// Half of what an E8M0 scale means, because the values are doubled; as in ggml, 255 is no NaN.
float half_of_e8m0(std::uint8_t e) { return e == 255 ? 0x1p127f : 0.5f * e8m0_to_f32(e); }

// --- blocks of 32: number j in the low half of byte j, number j + 16 in the high half --------------------------------

/// The halves of 16 bytes, each through value(j, half byte).
template <class Value>
void nibbles(Bytes qs, std::uint8_t* q, Value value) {
  for (int j = 0; j < 16; ++j) {
    q[j] = static_cast<std::uint8_t>(value(j, qs[j] & 15));
    q[j + 16] = static_cast<std::uint8_t>(value(j + 16, qs[j] >> 4));
  }
}

/// The same with bit j of `qh` as the fifth bit of number j, and `offset` added.
void five_bits(Bytes qh, Bytes qs, std::uint8_t* q, int offset) {
  nibbles(qs, q, [&](int j, int low) { return (low | (qh[j / 8] >> (j % 8) & 1) << 4) + offset; });
}

/// Values of a table around 0, which become numbers around 128.
void table_of_16(Bytes qs, const std::int8_t* values, std::uint8_t* q) {
  nibbles(qs, q, [&](int, int code) { return values[code] + 128; });
}

void q4_0(Bytes b, std::uint8_t* q, float* scale, float*) {
  *scale = half(b);
  nibbles(b + 2, q, [](int, int low) { return low; });
}

void q4_1(Bytes b, std::uint8_t* q, float* scale, float* minimum) {
  *scale = half(b);
  *minimum = half(b + 2);
  nibbles(b + 4, q, [](int, int low) { return low; });
}

void q5_0(Bytes b, std::uint8_t* q, float* scale, float*) {
  *scale = half(b);
  five_bits(b + 2, b + 6, q, 128 - 16);
}

void q5_1(Bytes b, std::uint8_t* q, float* scale, float* minimum) {
  *scale = half(b);
  *minimum = half(b + 2);
  five_bits(b + 4, b + 8, q, 0);
}

void q8_0(Bytes b, std::uint8_t* q, float* scale, float*) {
  *scale = half(b);
  for (int j = 0; j < 32; ++j) q[j] = b[2 + j] ^ 0x80;
}

void iq4_nl(Bytes b, std::uint8_t* q, float* scale, float*) {
  *scale = half(b);
  table_of_16(b + 2, kIq4Values, q);
}

void mxfp4(Bytes b, std::uint8_t* q, float* scale, float*) {
  *scale = half_of_e8m0(b[0]);
  table_of_16(b + 1, kTwiceE2m1.data(), q);
}

// --- blocks of 256 ---------------------------------------------------------------------------------------------------

/// 16 bytes of scales, the low half of each the scale of 16 numbers, the high half that of their minimum.
void q2_k(Bytes b, std::uint8_t* q, float* scale, float* minimum) {
  const float d = half(b + 80), min = half(b + 82);
  for (int g = 0; g < 16; ++g) {
    scale[g] = d * static_cast<float>(b[g] & 15);
    minimum[g] = -(min * static_cast<float>(b[g] >> 4));
  }
  for (int i = 0; i < 256; ++i) q[i] = b[16 + 32 * (i / 128) + i % 32] >> (i % 128 / 32 * 2) & 3;
}

/// Scale j of 16 numbers has 6 bits around 32: the low four from the first eight of 12 bytes, the high two from the
/// last four.
void q3_k(Bytes b, std::uint8_t* q, float* scale, float*) {
  const Bytes hmask = b, qs = b + 32, scales = b + 96;
  const float d = half(b + 108);
  for (int j = 0; j < 16; ++j) {
    const int low = j < 8 ? scales[j] & 15 : scales[j - 8] >> 4;
    const int high = scales[8 + j % 4] >> (j / 4 * 2) & 3;
    scale[j] = d * static_cast<float>((low | high << 4) - 32);
  }
  for (int i = 0; i < 256; ++i) {
    const int low = qs[32 * (i / 128) + i % 32] >> (i % 128 / 32 * 2) & 3, high = hmask[i % 32] >> (i / 32) & 1;
    q[i] = static_cast<std::uint8_t>((low | high << 2) - 4 + 8);
  }
}

/// Q4_K and Q5_K: sub-blocks 2 p and 2 p + 1 are the low and high halves of 32 bytes.  Scale and minimum of each have
/// 6 bits: those of the first four in a byte each, those of the last four in half bytes and what the others leave free.
void q45_k(Bytes b, Bytes qh, Bytes qs, std::uint8_t* q, float* scale, float* minimum) {
  const float d = half(b), min = half(b + 2);
  const Bytes s = b + 4;
  for (int sub = 0; sub < 8; ++sub) {
    const int k = sub < 4 ? s[sub] & 63 : (s[sub + 4] & 15) | (s[sub - 4] >> 6) << 4;
    const int m = sub < 4 ? s[sub + 4] & 63 : s[sub + 4] >> 4 | (s[sub] >> 6) << 4;
    scale[sub] = d * static_cast<float>(k);
    minimum[sub] = -(min * static_cast<float>(m));
    for (int l = 0; l < 32; ++l) {
      const int low = qs[32 * (sub / 2) + l] >> (sub % 2 * 4) & 15;
      const int high = qh == nullptr ? 0 : (qh[l] >> sub & 1) << 4;
      q[32 * sub + l] = static_cast<std::uint8_t>(low | high);
    }
  }
}

void q4_k(Bytes b, std::uint8_t* q, float* scale, float* minimum) { q45_k(b, nullptr, b + 16, q, scale, minimum); }
void q5_k(Bytes b, std::uint8_t* q, float* scale, float* minimum) { q45_k(b, b + 16, b + 48, q, scale, minimum); }

void q6_k(Bytes b, std::uint8_t* q, float* scale, float*) {
  const float d = half(b + 208);
  for (int g = 0; g < 16; ++g) scale[g] = d * static_cast<float>(static_cast<std::int8_t>(b[192 + g]));
  for (int i = 0; i < 256; ++i) {
    const int part = i / 128, quarter = i % 128 / 32;
    const int low = b[64 * part + 32 * (quarter % 2) + i % 32] >> (quarter / 2 * 4) & 15;
    const int high = b[128 + 32 * part + i % 32] >> (2 * quarter) & 3;
    q[i] = static_cast<std::uint8_t>(low | high << 4);
  }
}

/// Sub-blocks of 32 whose scales have 6 bits around 32: low four in half bytes, high two in 16 bits.
void iq4_xs(Bytes b, std::uint8_t* q, float* scale, float*) {
  const float d = half(b);
  for (int sub = 0; sub < 8; ++sub) {
    const int low = b[4 + sub / 2] >> (sub % 2 * 4) & 15, high = (b[2] | b[3] << 8) >> (2 * sub) & 3;
    scale[sub] = d * static_cast<float>((low | high << 4) - 32);
    table_of_16(b + 8 + 16 * sub, kIq4Values, q + 32 * sub);
  }
}

template <void (*unpack)(Bytes, std::uint8_t*, float*, float*)>
void of_bytes(const std::byte* block, std::uint8_t* q, float* scale, float* minimum) noexcept {
  unpack(reinterpret_cast<Bytes>(block), q, scale, minimum);
}

constexpr GgmlBlocks kBlocks[] = {
    {"Q4_0", 4, 32, false, DType::kF16, of_bytes<q4_0>},     {"Q4_1", 4, 32, true, DType::kF16, of_bytes<q4_1>},
    {"Q5_0", 8, 32, false, DType::kF16, of_bytes<q5_0>},     {"Q5_1", 8, 32, true, DType::kF16, of_bytes<q5_1>},
    {"Q8_0", 8, 32, false, DType::kF16, of_bytes<q8_0>},     {"Q4_K", 4, 32, true, DType::kF32, of_bytes<q4_k>},
    {"Q5_K", 8, 32, true, DType::kF32, of_bytes<q5_k>},      {"IQ4_NL", 8, 32, false, DType::kF16, of_bytes<iq4_nl>},
    {"IQ4_XS", 8, 32, false, DType::kF32, of_bytes<iq4_xs>}, {"MXFP4", 8, 32, false, DType::kBF16, of_bytes<mxfp4>},
    {"Q2_K", 4, 16, true, DType::kF32, of_bytes<q2_k>},      {"Q3_K", 4, 16, false, DType::kF32, of_bytes<q3_k>},
    {"Q6_K", 6, 16, false, DType::kF32, of_bytes<q6_k>},
};

}  // namespace

const GgmlBlocks* find_ggml_blocks(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kBlocks), std::end(kBlocks), [&](const GgmlBlocks& b) { return b.name == name; });
  return found == std::end(kBlocks) ? nullptr : found;
}

void decode_blocks(const GgmlBlocks& blocks, const std::byte* bytes, std::int64_t n, float* out) noexcept {
  const GgmlType& type = *find_ggml_type(blocks.name);
  const int middle = blocks.has_minimum ? 0 : 1 << (blocks.bits - 1);
  std::uint8_t q[256];
  float scale[16], minimum[16] = {};
  for (std::int64_t at = 0; at < n; at += type.values, bytes += type.bytes) {
    blocks.unpack(bytes, q, scale, minimum);
    for (std::uint32_t i = 0; i < type.values; ++i) {
      const float w = scale[i / blocks.group] * static_cast<float>(q[i] - middle);
      *out++ = blocks.has_minimum ? w + minimum[i / blocks.group] : w;
    }
  }
}

}  // namespace kl
