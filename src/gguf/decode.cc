#include "gguf/decode.h"

#include <bit>
#include <cstring>

#include "base/dtype.h"

namespace kl {

// The names of the fields are ggml's: d and m scale and minimum, qs the low bits of the numbers, qh their high bits.

const std::int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
const std::int8_t kMxfp4Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

KScale k_scale(const std::uint8_t* s, int j) noexcept {
  if (j < 4) return {static_cast<std::uint8_t>(s[j] & 63), static_cast<std::uint8_t>(s[j + 4] & 63)};
  return {static_cast<std::uint8_t>((s[j + 4] & 15) | (s[j - 4] >> 6) << 4),
          static_cast<std::uint8_t>((s[j + 4] >> 4) | (s[j] >> 6) << 4)};
}

/// 6 bits around 32: the low four from the first eight bytes, the high two from the last four.
int q3_k_scale(const std::uint8_t* s, int j) noexcept {
  const int low = j < 8 ? s[j] & 15 : s[j - 8] >> 4;
  const int high = s[8 + j % 4] >> (j / 4 * 2) & 3;
  return (low | high << 4) - 32;
}

int iq4_xs_scale(const std::uint8_t* block, int j) noexcept {
  const int low = block[4 + j / 2] >> (j % 2 * 4) & 15;
  const int high = (block[2] | block[3] << 8) >> (2 * j) & 3;
  return (low | high << 4) - 32;
}

float half_of_e8m0(std::uint8_t e) noexcept {
  const std::uint32_t bits = e < 2 ? 0x00200000u << e : (e - 1u) << 23;  // 2^-128 and 2^-127 are subnormal
  return std::bit_cast<float>(bits);
}

namespace {

using Bytes = const std::uint8_t*;

std::uint16_t load16(Bytes p) { return static_cast<std::uint16_t>(p[0] | p[1] << 8); }
std::uint32_t load32(Bytes p) { return load16(p) | static_cast<std::uint32_t>(load16(p + 2)) << 16; }
float half(Bytes p) { return f16_to_f32(load16(p)); }

/// Calls decode(block, out) for every block.
template <int kValues, int kBytes, void (*decode)(Bytes, float*)>
void each_block(const std::byte* blocks, std::int64_t n, float* out) {
  auto block = reinterpret_cast<Bytes>(blocks);
  for (std::int64_t i = 0; i < n; i += kValues, block += kBytes) decode(block, out + i);
}

void f32(Bytes p, float* y) { *y = std::bit_cast<float>(load32(p)); }
void f16(Bytes p, float* y) { *y = half(p); }
void bf16(Bytes p, float* y) { *y = bf16_to_f32(load16(p)); }

// --- blocks of 32: value j in the low half of byte j, value j + 16 in the high half -----------------------------------

void q4_0(Bytes b, float* y) {
  const float d = half(b);
  for (int j = 0; j < 16; ++j) {
    y[j] = static_cast<float>((b[2 + j] & 15) - 8) * d;
    y[j + 16] = static_cast<float>((b[2 + j] >> 4) - 8) * d;
  }
}

void q4_1(Bytes b, float* y) {
  const float d = half(b), m = half(b + 2);
  for (int j = 0; j < 16; ++j) {
    y[j] = static_cast<float>(b[4 + j] & 15) * d + m;
    y[j + 16] = static_cast<float>(b[4 + j] >> 4) * d + m;
  }
}

/// Number j of a 5-bit block: bit j of qh is its highest.
int five_bits(std::uint32_t qh, Bytes qs, int j) {
  const int low = j < 16 ? qs[j] & 15 : qs[j - 16] >> 4;
  return low | static_cast<int>(qh >> j & 1) << 4;
}

void q5_0(Bytes b, float* y) {
  const float d = half(b);
  const std::uint32_t qh = load32(b + 2);
  for (int j = 0; j < 32; ++j) y[j] = static_cast<float>(five_bits(qh, b + 6, j) - 16) * d;
}

void q5_1(Bytes b, float* y) {
  const float d = half(b), m = half(b + 2);
  const std::uint32_t qh = load32(b + 4);
  for (int j = 0; j < 32; ++j) y[j] = static_cast<float>(five_bits(qh, b + 8, j)) * d + m;
}

void q8_0(Bytes b, float* y) {
  const float d = half(b);
  for (int j = 0; j < 32; ++j) y[j] = static_cast<float>(static_cast<std::int8_t>(b[2 + j])) * d;
}

void table_of_16(float d, Bytes qs, const std::int8_t* values, float* y) {
  for (int j = 0; j < 16; ++j) {
    y[j] = d * static_cast<float>(values[qs[j] & 15]);
    y[j + 16] = d * static_cast<float>(values[qs[j] >> 4]);
  }
}

void iq4_nl(Bytes b, float* y) { table_of_16(half(b), b + 2, kIq4Values, y); }

void mxfp4(Bytes b, float* y) { table_of_16(half_of_e8m0(b[0]), b + 1, kMxfp4Values, y); }

// --- blocks of 256 ----------------------------------------------------------------------------------------------------

void q2_k(Bytes b, float* y) {
  const Bytes scales = b, qs = b + 16;
  const float d = half(b + 80), min = half(b + 82);
  for (int i = 0; i < 256; ++i) {
    const int group = i / 16, part = i / 128, shift = i % 128 / 32 * 2;
    const float dl = d * static_cast<float>(scales[group] & 15), ml = min * static_cast<float>(scales[group] >> 4);
    y[i] = dl * static_cast<float>(qs[32 * part + i % 32] >> shift & 3) - ml;
  }
}

void q3_k(Bytes b, float* y) {
  const Bytes hmask = b, qs = b + 32, scales = b + 96;
  const float d = half(b + 108);
  for (int i = 0; i < 256; ++i) {
    const int part = i / 128, shift = i % 128 / 32 * 2, bit = i / 32;
    const int low = qs[32 * part + i % 32] >> shift & 3;
    const float dl = d * static_cast<float>(q3_k_scale(scales, i / 16));
    y[i] = dl * static_cast<float>(low - ((hmask[i % 32] >> bit & 1) != 0 ? 0 : 4));
  }
}

/// Q4_K and Q5_K: eight sub-blocks of 32, two of them in the halves of 32 bytes.
void q45_k(Bytes b, Bytes qh, Bytes qs, float* y) {
  const float d = half(b), min = half(b + 2);
  for (int sub = 0; sub < 8; ++sub) {
    const KScale scale = k_scale(b + 4, sub);
    const float dl = d * static_cast<float>(scale.scale), ml = min * static_cast<float>(scale.minimum);
    for (int l = 0; l < 32; ++l) {
      const int low = qs[32 * (sub / 2) + l] >> (sub % 2 * 4) & 15;
      const int high = qh == nullptr ? 0 : (qh[l] >> sub & 1) << 4;
      y[32 * sub + l] = dl * static_cast<float>(low + high) - ml;
    }
  }
}

void q4_k(Bytes b, float* y) { q45_k(b, nullptr, b + 16, y); }
void q5_k(Bytes b, float* y) { q45_k(b, b + 16, b + 48, y); }

void q6_k(Bytes b, float* y) {
  const float d = half(b + 208);
  for (int i = 0; i < 256; ++i) {
    const int part = i / 128, quarter = i % 128 / 32, l = i % 32;
    const Bytes ql = b + 64 * part, qh = b + 128 + 32 * part, scales = b + 192;
    const int low = ql[32 * (quarter % 2) + l] >> (quarter / 2 * 4) & 15;
    const int high = qh[l] >> (2 * quarter) & 3;
    const float scale = static_cast<float>(static_cast<std::int8_t>(scales[i / 16]));
    y[i] = d * scale * static_cast<float>((low | high << 4) - 32);
  }
}

void iq4_xs(Bytes b, float* y) {
  const float d = half(b);
  for (int sub = 0; sub < 8; ++sub) {
    table_of_16(d * static_cast<float>(iq4_xs_scale(b, sub)), b + 8 + 16 * sub, kIq4Values, y + 32 * sub);
  }
}

struct Decoder {
  std::string_view name;
  DecodeBlocks decode;
};

constexpr Decoder kDecoders[] = {
    {"F32", each_block<1, 4, f32>},           {"F16", each_block<1, 2, f16>},
    {"BF16", each_block<1, 2, bf16>},         {"Q4_0", each_block<32, 18, q4_0>},
    {"Q4_1", each_block<32, 20, q4_1>},       {"Q5_0", each_block<32, 22, q5_0>},
    {"Q5_1", each_block<32, 24, q5_1>},       {"Q8_0", each_block<32, 34, q8_0>},
    {"Q2_K", each_block<256, 84, q2_k>},      {"Q3_K", each_block<256, 110, q3_k>},
    {"Q4_K", each_block<256, 144, q4_k>},     {"Q5_K", each_block<256, 176, q5_k>},
    {"Q6_K", each_block<256, 210, q6_k>},     {"IQ4_NL", each_block<32, 18, iq4_nl>},
    {"IQ4_XS", each_block<256, 136, iq4_xs>}, {"MXFP4", each_block<32, 17, mxfp4>},
};

}  // namespace

DecodeBlocks find_decoder(std::string_view name) {
  for (const Decoder& decoder : kDecoders) {
    if (decoder.name == name) return decoder.decode;
  }
  return nullptr;
}

}  // namespace kl
