#include "encodings/ggml.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "gguf/decode.h"
#include "gguf/ggml_type.h"

namespace kl {
namespace {

using Bytes = const std::uint8_t*;

float half(Bytes p) { return f16_to_f32(static_cast<std::uint16_t>(p[0] | p[1] << 8)); }

/// Nibbles of 16 bytes, the low ones first, each through `value`.
template <class Value>
void nibbles(Bytes qs, std::uint8_t* q, Value value) {
  for (int j = 0; j < 16; ++j) {
    q[j] = static_cast<std::uint8_t>(value(j, qs[j] & 15));
    q[j + 16] = static_cast<std::uint8_t>(value(j + 16, qs[j] >> 4));
  }
}

/// The same with bit j of `qh` as the fifth bit of number j.
template <class Value>
void five_bits(Bytes qh, Bytes qs, std::uint8_t* q, Value value) {
  nibbles(qs, q, [&](int j, int low) { return value(low | (qh[j / 8] >> (j % 8) & 1) << 4); });
}

// One block in the numbers of its packed format; the functions are named after the types.  Numbers without a minimum count from
// the middle: 8, 32 or 128.

void q4_0(Bytes b, const PackedRow& out) {
  *out.scale = half(b);
  nibbles(b + 2, out.q, [](int, int q) { return q; });
}

void q4_1(Bytes b, const PackedRow& out) {
  *out.scale = half(b);
  *out.minimum = half(b + 2);
  nibbles(b + 4, out.q, [](int, int q) { return q; });
}

void q5_0(Bytes b, const PackedRow& out) {
  *out.scale = half(b);
  five_bits(b + 2, b + 6, out.q, [](int q) { return q - 16 + 128; });
}

void q5_1(Bytes b, const PackedRow& out) {
  *out.scale = half(b);
  *out.minimum = half(b + 2);
  five_bits(b + 4, b + 8, out.q, [](int q) { return q; });
}

void q8_0(Bytes b, const PackedRow& out) {
  *out.scale = half(b);
  for (int j = 0; j < 32; ++j) out.q[j] = b[2 + j] ^ 0x80;
}

void iq4_nl(Bytes b, const PackedRow& out) {
  *out.scale = half(b);
  nibbles(b + 2, out.q, [](int, int q) { return kIq4Values[q] + 128; });
}

void mxfp4(Bytes b, const PackedRow& out) {
  *out.scale = half_of_e8m0(b[0]);
  nibbles(b + 1, out.q, [](int, int q) { return kMxfp4Values[q] + 128; });
}

/// Q4_K and Q5_K: sub-blocks 2 p and 2 p + 1 are the low and high halves of 32 bytes.
void q45_k(Bytes b, Bytes qh, Bytes qs, const PackedRow& out) {
  const float d = half(b), min = half(b + 2);
  for (int sub = 0; sub < 8; ++sub) {
    const KScale scale = k_scale(b + 4, sub);
    out.scale[sub] = d * static_cast<float>(scale.scale);
    out.minimum[sub] = -(min * static_cast<float>(scale.minimum));
    for (int l = 0; l < 32; ++l) {
      const int low = qs[32 * (sub / 2) + l] >> (sub % 2 * 4) & 15;
      const int high = qh == nullptr ? 0 : (qh[l] >> sub & 1) << 4;
      out.q[32 * sub + l] = static_cast<std::uint8_t>(low | high);
    }
  }
}

void q4_k(Bytes b, const PackedRow& out) { q45_k(b, nullptr, b + 16, out); }
void q5_k(Bytes b, const PackedRow& out) { q45_k(b, b + 16, b + 48, out); }

void iq4_xs(Bytes b, const PackedRow& out) {
  const float d = half(b);
  for (int sub = 0; sub < 8; ++sub) {
    out.scale[sub] = d * static_cast<float>(iq4_xs_scale(b, sub));
    nibbles(b + 8 + 16 * sub, out.q + 32 * sub, [](int, int q) { return kIq4Values[q] + 128; });
  }
}

// Groups of 16: number i of a block has scale i / 16.

void q2_k(Bytes b, const PackedRow& out) {
  const float d = half(b + 80), min = half(b + 82);
  for (int g = 0; g < 16; ++g) {
    out.scale[g] = d * static_cast<float>(b[g] & 15);
    out.minimum[g] = -(min * static_cast<float>(b[g] >> 4));
  }
  for (int i = 0; i < 256; ++i) out.q[i] = b[16 + 32 * (i / 128) + i % 32] >> (i % 128 / 32 * 2) & 3;
}

void q3_k(Bytes b, const PackedRow& out) {
  const float d = half(b + 108);
  for (int g = 0; g < 16; ++g) out.scale[g] = d * static_cast<float>(q3_k_scale(b + 96, g));
  for (int i = 0; i < 256; ++i) {
    const int low = b[32 + 32 * (i / 128) + i % 32] >> (i % 128 / 32 * 2) & 3, high = b[i % 32] >> (i / 32) & 1;
    out.q[i] = static_cast<std::uint8_t>((low | high << 2) - 4 + 8);
  }
}

void q6_k(Bytes b, const PackedRow& out) {
  const float d = half(b + 208);
  for (int g = 0; g < 16; ++g) out.scale[g] = d * static_cast<float>(static_cast<std::int8_t>(b[192 + g]));
  for (int i = 0; i < 256; ++i) {
    const int part = i / 128, quarter = i % 128 / 32;
    const int low = b[64 * part + 32 * (quarter % 2) + i % 32] >> (quarter / 2 * 4) & 15;
    const int high = b[128 + 32 * part + i % 32] >> (2 * quarter) & 3;
    out.q[i] = static_cast<std::uint8_t>(low | high << 4);
  }
}

/// How a type is held, and what brings a block into that form.
struct Packing {
  std::string_view type;
  PackedFormat format;
  void (*pack)(Bytes block, const PackedRow& out);
};

constexpr Packing kPackings[] = {
    {"Q4_0", {4, 32, false, DType::kF16}, q4_0},     {"Q4_1", {4, 32, true, DType::kF16}, q4_1},
    {"Q5_0", {8, 32, false, DType::kF16}, q5_0},     {"Q5_1", {8, 32, true, DType::kF16}, q5_1},
    {"Q8_0", {8, 32, false, DType::kF16}, q8_0},     {"Q4_K", {4, 32, true, DType::kF32}, q4_k},
    {"Q5_K", {8, 32, true, DType::kF32}, q5_k},      {"IQ4_NL", {8, 32, false, DType::kF16}, iq4_nl},
    {"IQ4_XS", {8, 32, false, DType::kF32}, iq4_xs}, {"MXFP4", {8, 32, false, DType::kBF16}, mxfp4},
    {"Q2_K", {4, 16, true, DType::kF32}, q2_k},      {"Q3_K", {4, 16, false, DType::kF32}, q3_k},
    {"Q6_K", {6, 16, false, DType::kF32}, q6_k},
};

const Packing* find_packing(std::string_view type) {
  const auto found = std::find_if(std::begin(kPackings), std::end(kPackings),
                                  [&](const Packing& packing) { return packing.type == type; });
  return found == std::end(kPackings) ? nullptr : found;
}

class GgmlMatrix : public StoredMatrix {
 public:
  GgmlMatrix(const GgmlType& type, DecodeBlocks decode, const Packing& packing, const FileTensor& tensor,
             std::int64_t rows, std::int64_t cols)
      : StoredMatrix(rows, cols, "GGUF " + std::string(type.name), tensor.bytes),
        type_(type),
        decode_(decode),
        packing_(packing),
        data_(tensor.data) {}

  void decode_row(std::int64_t row, float* w) const noexcept override { decode_(blocks(row), cols(), w); }

  HeldForm held_as() const noexcept override { return {DType::kPacked, packing_.format}; }

  void packed_row(std::int64_t row, const PackedRow& out) const noexcept override {
    const int groups = static_cast<int>(type_.values) / packing_.format.group;
    PackedRow block = out;
    auto bytes = reinterpret_cast<Bytes>(blocks(row));
    for (std::int64_t k = 0; k < cols(); k += type_.values, bytes += type_.bytes) {
      packing_.pack(bytes, block);
      block.q += type_.values;
      block.scale += groups;
      if (packing_.format.has_minimum) block.minimum += groups;
    }
  }

 private:
  const std::byte* blocks(std::int64_t row) const { return data_ + row * (cols() / type_.values * type_.bytes); }

  const GgmlType& type_;
  const DecodeBlocks decode_;
  const Packing& packing_;
  const std::byte* const data_;
};

}  // namespace

StoredModule GgmlEncoding::find(const std::string& module, const std::vector<std::int64_t>& shape,
                                TensorSource& source) const {
  const std::string name = module + ".weight";
  const FileTensor* tensor = source.find(name);
  if (tensor == nullptr) return {};
  const GgmlType* type = find_ggml_type(tensor->dtype);
  if (type == nullptr || type->name == "F32" || type->name == "F16" || type->name == "BF16") return {};
  const DecodeBlocks decode = find_decoder(type->name);
  const Packing* packing = find_packing(type->name);
  if (decode == nullptr || packing == nullptr) {
    source.complain(ErrorCode::kUnsupported, name,
                    fmt::format("expected a type of block that kl reads, got {}", type->name));
    return {true, nullptr};
  }
  if (tensor->shape != shape) {
    source.complain(ErrorCode::kCorrupt, name,
                    fmt::format("expected {}, got {}", shape_text(shape), shape_text(tensor->shape)));
    return {true, nullptr};
  }
  std::int64_t rows = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return {true, std::make_shared<GgmlMatrix>(*type, decode, *packing, *tensor, rows, shape.back())};
}

}  // namespace kl
