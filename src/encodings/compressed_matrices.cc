#include "encodings/compressed_matrices.h"

#include "base/numbers.h"
#include "encodings/bit_rows.h"

namespace kl {
namespace {

std::size_t bytes_of(const CompressedParts& p) {
  std::size_t bytes = 0;
  for (const FileTensor* tensor : {p.weight, p.scale, p.zero_point, p.global_scale})
    if (tensor != nullptr) bytes += tensor->bytes;
  return bytes;
}

/// w = scale (q - zero point), the middle where there is none.  Always held in groups of 32, which all others divide into.
///
/// scale times zero point needs more digits than the scale: with zero points both are held in f32, and f32 scales leave no
/// room for them, so that such a matrix is held in f32 itself.
class CompressedInt : public StoredMatrix {
 public:
  CompressedInt(const CompressedScheme& s, const CompressedParts& p, std::int64_t rows, std::int64_t cols)
      : StoredMatrix(rows, cols, s.text(), bytes_of(p)),
        bits_(s.bits),
        group_(s.group_size > 0 ? s.group_size : cols),
        groups_(cols / group_),
        row_bytes_((cols * s.bits + 31) / 32 * 4),
        weight_(p.weight->data),
        scale_(p.scale->data),
        zero_point_(p.zero_point != nullptr ? p.zero_point->data : nullptr),
        type_(*parse_dtype(p.scale->dtype)) {}

  void decode_row(std::int64_t row, float* w) const noexcept override {
    for (std::int64_t k = 0; k < cols(); ++k) {
      const auto q = static_cast<int>(bits_at(weight_ + row * row_bytes_, bits_, k));
      const double exact = double{scale(row, k / group_)} * double(q - zero_point(row, k / group_));
      w[k] = static_cast<float>(exact + 0.0);  // one zero only
    }
  }

  HeldForm held_as() const noexcept override {
    const auto bits = static_cast<std::uint8_t>(bits_);
    if (zero_point_ == nullptr) return {DType::kPacked, {bits, 32, false, type_}};
    if (type_ == DType::kF32) return {};
    return {DType::kPacked, {bits, 32, true, DType::kF32}};
  }

  void packed_row(std::int64_t row, const PackedRow& out) const noexcept override {
    unpack_bits(weight_ + row * row_bytes_, bits_, cols(), out.q);
    for (std::int64_t k = 0; k < cols(); k += 32) {
      const std::int64_t g = k / group_;
      out.scale[k / 32] = scale(row, g);
      out.minimum[k / 32] = -scale(row, g) * static_cast<float>(zero_point(row, g));
    }
  }

 private:
  float scale(std::int64_t row, std::int64_t g) const { return widen(scale_, type_, row * groups_ + g); }

  /// Packed down the columns: a word holds the same group of 32 / bits rows.
  int zero_point(std::int64_t row, std::int64_t g) const {
    if (zero_point_ == nullptr) return 1 << (bits_ - 1);
    const std::int64_t in_word = 32 / bits_;
    std::uint32_t word = 0;
    std::memcpy(&word, zero_point_ + 4 * (row / in_word * groups_ + g), 4);
    return static_cast<int>(word >> (row % in_word * bits_) & ((1u << bits_) - 1u));
  }

  const int bits_;
  const std::int64_t group_, groups_, row_bytes_;
  const std::byte* const weight_;
  const std::byte* const scale_;
  const std::byte* const zero_point_;
  const DType type_;
};

/// w = scale e4m3, one scale a row or one in all.
class CompressedFp8 : public StoredMatrix {
 public:
  CompressedFp8(const CompressedScheme& s, const CompressedParts& p, std::int64_t rows, std::int64_t cols)
      : StoredMatrix(rows, cols, s.text(), bytes_of(p)),
        is_per_tensor_(s.is_per_tensor),
        weight_(p.weight->data),
        scale_(p.scale->data),
        type_(*parse_dtype(p.scale->dtype)) {}

  void decode_row(std::int64_t row, float* w) const noexcept override {
    const float scale = widen(scale_, type_, is_per_tensor_ ? 0 : row);
    for (std::int64_t k = 0; k < cols(); ++k) w[k] = scale * kE4m3[static_cast<std::size_t>(weight_[row * cols() + k])];
  }

  HeldForm held_as() const noexcept override { return {}; }

 private:
  const bool is_per_tensor_;
  const std::byte* const weight_;
  const std::byte* const scale_;
  const DType type_;
};

/// w = e2m1 e4m3 / global scale: the product is exact, the division rounds once.
class CompressedNvfp4 : public StoredMatrix {
 public:
  CompressedNvfp4(const CompressedScheme& s, const CompressedParts& p, std::int64_t rows, std::int64_t cols)
      : StoredMatrix(rows, cols, s.text(), bytes_of(p)),
        weight_(p.weight->data),
        scale_(p.scale->data),
        global_(widen(p.global_scale->data, DType::kF32, 0)) {}

  void decode_row(std::int64_t row, float* w) const noexcept override {
    for (std::int64_t k = 0; k < cols(); k += kGroup) {
      const std::int64_t at = row * cols() + k;
      decode_e2m1(weight_ + at / 2, kGroup, 0.5f * kE4m3[static_cast<std::size_t>(scale_[at / kGroup])], w + k);
      for (std::int64_t i = k; i < k + kGroup; ++i) w[i] /= global_;
    }
  }

  HeldForm held_as() const noexcept override { return {}; }

 private:
  static constexpr std::int64_t kGroup = 16;

  const std::byte* const weight_;
  const std::byte* const scale_;
  const float global_;
};

}  // namespace

std::shared_ptr<const StoredMatrix> compressed_matrix(const CompressedScheme& s, const CompressedParts& p,
                                                      std::int64_t rows, std::int64_t cols) {
  switch (s.kind) {
    case CompressedScheme::Kind::kFp8:
      return std::make_shared<CompressedFp8>(s, p, rows, cols);
    case CompressedScheme::Kind::kNvfp4:
      return std::make_shared<CompressedNvfp4>(s, p, rows, cols);
    case CompressedScheme::Kind::kInt:
      break;
  }
  return std::make_shared<CompressedInt>(s, p, rows, cols);
}

}  // namespace kl
