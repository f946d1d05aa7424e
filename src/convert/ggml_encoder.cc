#include <algorithm>
#include <cmath>

#include "base/numbers.h"
#include "convert/row_encoder.h"

namespace kl {
namespace {

std::vector<EncodedTensor> ggml_tensors(const GgmlType& type, const std::string& name,
                                        const std::vector<std::int64_t>& shape) {
  return {{{name, std::string(type.name), shape}, shape.back() / type.values * type.bytes}};
}

/// d = largest / 127, numbers rounded half away from zero.   Source  quantize_row_q8_0_ref.
void q8_0(const float* x, std::byte* block) {
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::fmax(largest, std::fabs(x[i]));
  const float d = largest / 127, inverse = d == 0 ? 0 : 1 / d;
  store(d, DType::kF16, 0, block);
  for (int i = 0; i < 32; ++i)
    block[2 + i] = static_cast<std::byte>(static_cast<std::int8_t>(std::round(x[i] * inverse)));
}

/// d = the number of largest magnitude / -8, so that this one is met exactly.   Source  quantize_row_q4_0_ref.
void q4_0(const float* x, std::byte* block) {
  float extreme = 0;
  for (int i = 0; i < 32; ++i)
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  const float d = extreme / -8, inverse = d == 0 ? 0 : 1 / d;
  store(d, DType::kF16, 0, block);
  const auto number = [&](int i) {
    const float scaled = x[i] * inverse;
    return static_cast<unsigned>(std::min(15, static_cast<int>(scaled + 8.5f)));
  };
  for (int i = 0; i < 16; ++i) block[2 + i] = static_cast<std::byte>(number(i) | number(i + 16) << 4);
}

class GgmlEncoder : public RowEncoder {
 public:
  explicit GgmlEncoder(const GgmlType& type) : type_(type) {}

  std::vector<EncodedTensor> tensors(const std::string& name, const std::vector<std::int64_t>& shape) const override {
    return ggml_tensors(type_, name, shape);
  }
  bool is_quantising() const override { return true; }

  const char* encode(const SourceMatrix& matrix, std::int64_t first, std::int64_t count, RowScratch& scratch,
                     std::span<std::byte* const> out) const override {
    const std::int64_t n = count * matrix.cols();
    const float* x = scratch.rows.data();
    matrix.decode(first, count, scratch.rows.data(), scratch);
    std::byte* block = out[0];
    for (std::int64_t i = 0; i < n; i += 32, x += 32, block += type_.bytes) {
      for (int j = 0; j < 32; ++j)
        if (!(std::fabs(x[j]) <= 65504)) return "expected finite weights up to 65504, got others";
      type_.name == "Q8_0" ? q8_0(x, block) : q4_0(x, block);
    }
    return nullptr;
  }

 private:
  const GgmlType& type_;
};

/// Q4_0, Q4_1 or Q8_0 of numbers in groups of 32, or of 64 whose halves have the same scale.
class GgmlKeeper : public RowEncoder {
 public:
  GgmlKeeper(const GgmlType& type, const PackedFormat& format) : type_(type), format_(format) {}

  std::vector<EncodedTensor> tensors(const std::string& name, const std::vector<std::int64_t>& shape) const override {
    return ggml_tensors(type_, name, shape);
  }

  const char* encode(const SourceMatrix& matrix, std::int64_t first, std::int64_t count, RowScratch& scratch,
                     std::span<std::byte* const> out) const override {
    const std::int64_t K = matrix.cols();
    const PackedRow row{scratch.q.data(), scratch.scale.data(), scratch.minimum.data()};
    std::byte* block = out[0];
    for (std::int64_t r = 0; r < count; ++r) {
      matrix.packed_row(first + r, row);
      for (std::int64_t k = 0; k < K; k += 32, block += type_.bytes) {
        const std::int64_t g = k / format_.group;
        if (!fits(row.scale[g]) || (format_.has_minimum && !fits(row.minimum[g])))
          return "expected scales that f16 holds, as GGUF stores them, got others; --type bf16 or f32 decodes them";
        store(row.scale[g], DType::kF16, 0, block);
        if (format_.has_minimum) store(row.minimum[g], DType::kF16, 1, block);
        put_numbers(row.q + k, block + (format_.has_minimum ? 4 : 2));
      }
    }
    return nullptr;
  }

 private:
  static bool fits(float x) { return std::isfinite(x) && rounded_to(x, DType::kF16) == x; }

  void put_numbers(const std::uint8_t* q, std::byte* out) const {
    if (format_.bits == 8) {
      for (int i = 0; i < 32; ++i) out[i] = static_cast<std::byte>(q[i] ^ 0x80);
    } else {
      for (int i = 0; i < 16; ++i) out[i] = static_cast<std::byte>(q[i] | q[i + 16] << 4);
    }
  }

  const GgmlType& type_;
  PackedFormat format_;
};

}  // namespace

EncoderPtr ggml_encoder(const GgmlType& type) { return std::make_shared<GgmlEncoder>(type); }

EncoderPtr ggml_keeper(const PackedFormat& format) {
  const char* name =
      format.bits == 4 ? (format.has_minimum ? "Q4_1" : "Q4_0") : (format.has_minimum ? nullptr : "Q8_0");
  if (name == nullptr) return nullptr;
  return std::make_shared<GgmlKeeper>(*find_ggml_type(std::string_view(name)), format);
}

}  // namespace kl
