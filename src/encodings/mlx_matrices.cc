#include "encodings/mlx_matrices.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstring>

#include "base/numbers.h"
#include "encodings/bit_rows.h"

namespace kl {
namespace {

/// What all modes share: rows of words, and scales by group.
class MlxMatrix : public StoredMatrix {
 public:
  MlxMatrix(const MlxSettings& s, const MlxParts& p, std::int64_t rows, std::int64_t cols)
      : StoredMatrix(rows, cols, mlx_encoding_text(s),
                     p.weight->bytes + p.scales->bytes + (p.biases ? p.biases->bytes : 0)),
        bits_(s.bits),
        group_(s.group_size),
        groups_(cols / s.group_size),
        weight_(p.weight->data),
        scales_(p.scales->data) {}

 protected:
  const std::byte* words(std::int64_t row) const { return weight_ + row * (cols() * bits_ / 8); }
  std::uint8_t scale_byte(std::int64_t row, std::int64_t g) const {
    return static_cast<std::uint8_t>(scales_[row * groups_ + g]);
  }

  const int bits_;
  const std::int64_t group_, groups_;  // groups of a row
  const std::byte* const weight_;
  const std::byte* const scales_;
};

/// w = scale q + bias.  2, 3 and 4 bits are held in 4, more in 8; a group of 128 as two of 64.
class MlxAffine : public MlxMatrix {
 public:
  MlxAffine(const MlxSettings& s, const MlxParts& p, std::int64_t rows, std::int64_t cols)
      : MlxMatrix(s, p, rows, cols), biases_(p.biases->data), type_(*parse_dtype(p.scales->dtype)) {}

  void decode_row(std::int64_t row, float* w) const noexcept override {
    for (std::int64_t k = 0; k < cols(); ++k) {
      const std::int64_t g = row * groups_ + k / group_;
      w[k] = std::fma(widen(scales_, type_, g), static_cast<float>(bits_at(words(row), bits_, k)),
                      widen(biases_, type_, g));
    }
  }

  HeldForm held_as() const noexcept override {
    const std::uint8_t bits = bits_ <= 4 ? 4 : 8, group = group_ == 32 ? 32 : 64;
    return {DType::kPacked, {bits, group, true, type_}};
  }

  void packed_row(std::int64_t row, const PackedRow& out) const noexcept override {
    unpack_bits(words(row), bits_, cols(), out.q);
    const std::int64_t copies = group_ == 128 ? 2 : 1;
    for (std::int64_t g = 0; g < groups_ * copies; ++g) {
      out.scale[g] = widen(scales_, type_, row * groups_ + g / copies);
      out.minimum[g] = widen(biases_, type_, row * groups_ + g / copies);
    }
  }

 private:
  const std::byte* const biases_;
  const DType type_;
};

/// w = e2m1 2^(e - 127) = (2 e2m1) 2^(e - 128).  The doubled codes are integers from -12 to 12: 8 bits about the middle.
class MlxMxfp4 : public MlxMatrix {
 public:
  using MlxMatrix::MlxMatrix;

  void decode_row(std::int64_t row, float* w) const noexcept override {
    for (std::int64_t g = 0; g < groups_; ++g)
      decode_e2m1(words(row) + g * group_ / 2, group_, half_scale(row, g), w + g * group_);
  }

  HeldForm held_as() const noexcept override { return {DType::kPacked, {8, 32, false, DType::kBF16}}; }

  void packed_row(std::int64_t row, const PackedRow& out) const noexcept override {
    const std::byte* codes = words(row);
    for (std::int64_t k = 0; k < cols(); k += 2)
      std::memcpy(out.q + k, kPairs[static_cast<std::size_t>(codes[k / 2])].data(), 2);
    for (std::int64_t g = 0; g < groups_; ++g) out.scale[g] = half_scale(row, g);
  }

 private:
  /// 128 + twice e2m1 of both codes of a byte.
  static constexpr auto kPairs = [] {
    std::array<std::array<std::uint8_t, 2>, 256> pairs{};
    for (unsigned byte = 0; byte < 256; ++byte)
      pairs[byte] = {static_cast<std::uint8_t>(128 + kTwiceE2m1[byte & 15u]),
                     static_cast<std::uint8_t>(128 + kTwiceE2m1[byte >> 4])};
    return pairs;
  }();

  float half_scale(std::int64_t row, std::int64_t g) const { return 0.5f * e8m0_to_f32(scale_byte(row, g)); }
};

/// w = e4m3 2^(e - 127): four significant bits, which bf16 holds wherever its exponent reaches.
class MlxMxfp8 : public MlxMatrix {
 public:
  MlxMxfp8(const MlxSettings& s, const MlxParts& p, std::int64_t rows, std::int64_t cols)
      : MlxMatrix(s, p, rows, cols), fits_bf16_(all_fit_bf16()) {}

  void decode_row(std::int64_t row, float* w) const noexcept override {
    const std::byte* codes = words(row);
    for (std::int64_t g = 0; g < groups_; ++g) {
      const float scale = e8m0_to_f32(scale_byte(row, g));
      for (std::int64_t k = g * group_; k < (g + 1) * group_; ++k)
        w[k] = kE4m3[static_cast<std::size_t>(codes[k])] * scale;
    }
  }

  HeldForm held_as() const noexcept override { return {fits_bf16_ ? DType::kBF16 : DType::kF32, {}}; }

 private:
  /// The last bit of e4m3 is worth 2^-9 times the scale, that of bf16 2^-133 at least.  MLX gives groups of zeros the least
  /// scale there is.
  bool all_fit_bf16() const {
    constexpr std::uint8_t kLeast = 3;
    for (std::int64_t i = 0; i < rows() * groups_; ++i) {
      if (static_cast<std::uint8_t>(scales_[i]) >= kLeast) continue;
      for (std::int64_t k = i * group_; k < (i + 1) * group_; ++k)
        if ((weight_[k] & std::byte{0x7f}) != std::byte{0}) return false;
    }
    return true;
  }

  const bool fits_bf16_;
};

/// w = e2m1 e4m3: two and four significant bits make at most six, and every exponent is one of bf16.
class MlxNvfp4 : public MlxMatrix {
 public:
  using MlxMatrix::MlxMatrix;

  void decode_row(std::int64_t row, float* w) const noexcept override {
    for (std::int64_t g = 0; g < groups_; ++g)
      decode_e2m1(words(row) + g * group_ / 2, group_, 0.5f * kE4m3[scale_byte(row, g)], w + g * group_);
  }

  HeldForm held_as() const noexcept override { return {DType::kBF16, {}}; }
};

}  // namespace

std::string mlx_encoding_text(const MlxSettings& s) {
  switch (s.mode) {
    case MlxMode::kMxfp4:
      return "MLX mxfp4";
    case MlxMode::kMxfp8:
      return "MLX mxfp8";
    case MlxMode::kNvfp4:
      return "MLX nvfp4";
    case MlxMode::kAffine:
      break;
  }
  return fmt::format("MLX affine, {} bits, groups of {}", s.bits, s.group_size);
}

std::shared_ptr<const StoredMatrix> mlx_matrix(const MlxSettings& s, const MlxParts& p, std::int64_t rows,
                                               std::int64_t cols) {
  switch (s.mode) {
    case MlxMode::kMxfp4:
      return std::make_shared<MlxMxfp4>(s, p, rows, cols);
    case MlxMode::kMxfp8:
      return std::make_shared<MlxMxfp8>(s, p, rows, cols);
    case MlxMode::kNvfp4:
      return std::make_shared<MlxNvfp4>(s, p, rows, cols);
    case MlxMode::kAffine:
      break;
  }
  return std::make_shared<MlxAffine>(s, p, rows, cols);
}

}  // namespace kl
