#include <algorithm>
#include <cmath>

#include "base/numbers.h"
#include "convert/row_encoder.h"
#include "encodings/bit_rows.h"
#include "encodings/require_tensor.h"

namespace kl {
namespace {

constexpr const char* kNotFinite = "expected finite weights, got others";

/// X.weight, X.scales and, for affine ones, X.biases.
std::vector<EncodedTensor> mlx_tensors(const MlxSettings& s, DType type, const std::string& name,
                                       const std::vector<std::int64_t>& shape) {
  const std::int64_t cols = shape.back(), words = cols * s.bits / 32, groups = cols / s.group_size;
  const std::string module = name.substr(0, name.rfind('.'));
  const bool is_affine = s.mode == MlxMode::kAffine;
  const std::string scale_type = is_affine ? name_of(type) : "U8";
  const std::int64_t scale_bytes = is_affine ? static_cast<std::int64_t>(size_of(type)) : 1;
  std::vector<EncodedTensor> tensors{
      {{module + ".weight", "U32", with_cols(shape, words)}, 4 * words},
      {{module + ".scales", scale_type, with_cols(shape, groups)}, scale_bytes * groups}};
  if (is_affine) tensors.push_back({{module + ".biases", scale_type, with_cols(shape, groups)}, scale_bytes * groups});
  return tensors;
}

/// The two ways in which weights become numbers: one group at a time, numbers to q.
class MlxEncoder : public RowEncoder {
 public:
  MlxEncoder(const MlxSettings& settings, DType type) : s_(settings), type_(type) {}

  std::vector<EncodedTensor> tensors(const std::string& name, const std::vector<std::int64_t>& shape) const override {
    return mlx_tensors(s_, type_, name, shape);
  }
  bool is_quantising() const override { return true; }

  const char* encode(const SourceMatrix& matrix, std::int64_t first, std::int64_t count, RowScratch& scratch,
                     std::span<std::byte* const> out) const override {
    const std::int64_t K = matrix.cols(), groups = K / s_.group_size;
    float* w = scratch.rows.data();
    matrix.decode(first, count, w, scratch);
    if (!std::all_of(w, w + count * K, [](float x) { return std::isfinite(x); })) return kNotFinite;
    if (type_ != DType::kF32)
      for (std::int64_t i = 0; i < count * K; ++i) w[i] = rounded_to(w[i], type_);
    for (std::int64_t r = 0; r < count; ++r) {
      for (std::int64_t g = 0; g < groups; ++g) {
        const float* group = w + r * K + g * s_.group_size;
        std::uint8_t* q = scratch.q.data() + g * s_.group_size;
        const std::int64_t at = r * groups + g;
        if (s_.mode == MlxMode::kAffine) {
          const auto [scale, bias] = affine(group, q);
          store(scale, type_, at, out[1]);
          store(bias, type_, at, out[2]);
        } else {
          out[1][at] = mxfp4(group, q);
        }
      }
      pack_bits(scratch.q.data(), s_.bits, K, out[0] + r * (K * s_.bits / 8));
    }
    return nullptr;
  }

 private:
  struct Affine {
    float scale, bias;
  };

  /// w ~ scale q + bias.  The end of the range that is farther from 0 is met exactly, and 0 as well.
  /// Source    mlx, quantize() of the CPU.
  Affine affine(const float* w, std::uint8_t* q) const {
    const auto [low, high] = std::minmax_element(w, w + s_.group_size);
    const float most = static_cast<float>((1 << s_.bits) - 1);
    const bool is_low = std::fabs(*low) > std::fabs(*high);
    const float step = std::max((*high - *low) / most, 1e-7f), edge = is_low ? *low : *high;
    float scale = is_low ? step : -step, bias = 0;
    const float q0 = std::rint(edge / scale);
    if (q0 != 0) {
      scale = edge / q0;
      bias = edge;
    }
    for (std::int64_t i = 0; i < s_.group_size; ++i)
      q[i] = static_cast<std::uint8_t>(std::clamp(std::rint((w[i] - bias) / scale), 0.0f, most));
    return {scale, bias};
  }

  /// w ~ e2m1 2^(e - 127): the least power of two that is a sixth of the largest weight, so that none is cut off.
  /// Source    mlx, fp_quantize() of the CPU.
  std::byte mxfp4(const float* w, std::uint8_t* q) const {
    float largest = 0;
    for (std::int64_t i = 0; i < s_.group_size; ++i) largest = std::max(largest, std::fabs(w[i]));
    const float sixth = largest / 6.0f;
    int exponent = 0;
    if (sixth > 0) exponent = std::clamp(std::ilogb(sixth), -127, 127);
    if (exponent < 127 && std::ldexp(1.0f, exponent) < sixth) ++exponent;
    const auto code = static_cast<std::uint8_t>(exponent + 127);
    const float scale = e8m0_to_f32(code);
    for (std::int64_t i = 0; i < s_.group_size; ++i) q[i] = to_e2m1(w[i] / scale);
    return std::byte{code};
  }

  /// Nearest, ties towards 0; zero has no sign.
  static std::uint8_t to_e2m1(float x) {
    constexpr float kHalfway[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
    unsigned code = 0;
    for (const float halfway : kHalfway) code += std::fabs(x) > halfway;
    return static_cast<std::uint8_t>(code != 0 && x < 0 ? code | 8u : code);
  }

  MlxSettings s_;
  DType type_;
};

/// Numbers of a packed format, whose minima are MLX's biases.
class MlxKeeper : public RowEncoder {
 public:
  explicit MlxKeeper(const PackedFormat& format)
      : s_{MlxMode::kAffine, format.bits, format.group}, type_(format.scale_type) {}

  std::vector<EncodedTensor> tensors(const std::string& name, const std::vector<std::int64_t>& shape) const override {
    return mlx_tensors(s_, type_, name, shape);
  }

  const char* encode(const SourceMatrix& matrix, std::int64_t first, std::int64_t count, RowScratch& scratch,
                     std::span<std::byte* const> out) const override {
    const std::int64_t K = matrix.cols(), groups = K / s_.group_size;
    const PackedRow row{scratch.q.data(), scratch.scale.data(), scratch.minimum.data()};
    for (std::int64_t r = 0; r < count; ++r) {
      matrix.packed_row(first + r, row);
      for (std::int64_t g = 0; g < groups; ++g) {
        if (!std::isfinite(row.scale[g])) return kNotFinite;
        if (rounded_to(row.minimum[g], type_) != row.minimum[g])
          return "expected biases that the type of the scales holds, got others";
        store(row.scale[g], type_, r * groups + g, out[1]);
        store(row.minimum[g], type_, r * groups + g, out[2]);
      }
      pack_bits(row.q, s_.bits, K, out[0] + r * (K * s_.bits / 8));
    }
    return nullptr;
  }

 private:
  MlxSettings s_;
  DType type_;
};

}  // namespace

EncoderPtr mlx_encoder(const MlxSettings& settings, DType type) { return std::make_shared<MlxEncoder>(settings, type); }

EncoderPtr mlx_keeper(const PackedFormat& format) { return std::make_shared<MlxKeeper>(format); }

}  // namespace kl
