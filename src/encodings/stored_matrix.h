#pragma once
// What every encoding of weights is to the rest of the program.
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "base/dtype.h"
#include "kernels/packed.h"

namespace kl {

/// How a matrix is held in memory: single floats (f32 or bf16), or packed as the kernels read it.
struct HeldForm {
  DType type = DType::kF32;
  PackedFormat format{};  ///< if type is kPacked

  bool operator==(const HeldForm&) const = default;
};

/// One row of weights in the numbers of a packed format: w[k] = scale[k / group] q[k] + minimum[k / group].
struct PackedRow {
  std::uint8_t* q;  ///< [K], below 2^bits
  float* scale;     ///< [ceil(K / group)], exact in the format's scale type
  float* minimum;   ///< the same, where the format keeps one
};

/// A matrix [rows, cols] as a file stores it: bytes in some encoding.  Stacked matrices (experts, heads) are one below the
/// other.
///
/// Role      The seam between file formats and the model.  An encoding says what its numbers are, row by row, and which
///           in-memory form holds them without loss; repacking (repack.h) does the rest.
/// State     Immutable; points into the mapped file, which outlives it.
/// Thread safety: any number of threads may read rows.
class StoredMatrix {
 public:
  /// `encoding` is for people ("MLX affine, 4 bits, groups of 64"), `bytes` what the file spends on the matrix in all.
  StoredMatrix(std::int64_t rows, std::int64_t cols, std::string encoding, std::size_t bytes)
      : rows_(rows), cols_(cols), encoding_(std::move(encoding)), bytes_(bytes) {}
  virtual ~StoredMatrix() = default;
  StoredMatrix(const StoredMatrix&) = delete;
  StoredMatrix& operator=(const StoredMatrix&) = delete;

  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  const std::string& encoding() const { return encoding_; }
  std::size_t bytes() const { return bytes_; }

  /// A row in f32: the specification of the encoding.
  /// Shapes    w: [cols].
  /// Numerics  exact, or rounded once where f32 cannot hold the product of the stored numbers.
  virtual void decode_row(std::int64_t row, float* w) const noexcept = 0;

  /// The form that holds exactly what decode_row() gives; all rows have the same.
  virtual HeldForm held_as() const noexcept = 0;

  /// A row as held_as().format wants it.  Called only if that is packed.
  /// Numerics  fma(scale, q, minimum) is what decode_row() gives, bit for bit.
  virtual void packed_row(std::int64_t row, const PackedRow& out) const noexcept;

 private:
  std::int64_t rows_, cols_;
  std::string encoding_;
  std::size_t bytes_;
};

inline void StoredMatrix::packed_row(std::int64_t, const PackedRow&) const noexcept {}

}  // namespace kl
