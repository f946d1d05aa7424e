#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "encodings/stored_matrix.h"

namespace kl {

/// Numbers on their way from a file's rows to those asked for, one set a thread.
struct RowScratch {
  std::vector<float> row;             // one row of the file
  std::vector<float> rows;            // what an encoder asked for
  std::vector<float> scale, minimum;  // of a row's groups
  std::vector<std::uint8_t> q;        // of a row

  /// Room for rows of `cols` numbers, and a tile more where they are packed.
  void reserve(std::int64_t cols, std::int64_t rows_at_once);
};

/// A matrix of the model where a checkpoint has it, whatever the encoding: rows in f32, or in the numbers stored.  Vectors and
/// convolutions are one row.
///
/// State     Immutable; points into mapped files, which outlive it.
/// Thread safety: any number of threads may read rows.
class SourceMatrix {
 public:
  std::int64_t rows() const { return is_transposed_ ? file_cols_ : file_rows_; }
  std::int64_t cols() const { return is_transposed_ ? file_rows_ : file_cols_; }
  std::int64_t size() const { return file_rows_ * file_cols_; }
  const std::string& tensor() const { return tensor_; }  ///< the file's name of it, for messages

  /// What holds these rows without loss: the type they are stored in, a packed format, or f32 for columns of rows that are
  /// stored in groups.
  HeldForm form() const;

  /// Is it stored in other than single floats, or packed?
  bool is_quantised() const { return kind_ == Kind::kStored || kind_ == Kind::kPacked; }

  /// Whose quantised numbers these are, for messages: "packed", "MLX", "GGUF"; "plain" if they are not quantised.
  std::string family() const;

  /// Can any run of rows only be had by reading the whole matrix?
  bool is_transposed() const { return is_transposed_; }

  /// Row `first` and those below as they lie in the file, if they are single floats there; else nullptr.
  const std::byte* bytes_at(std::int64_t first) const;

  /// Rows first .. first + count - 1 in f32.   Shapes  out: [count, cols()].
  void decode(std::int64_t first, std::int64_t count, float* out, RowScratch& scratch) const noexcept;

  /// A row in the numbers of form().format, minima included where the format keeps none.   REQUIRES: form() is packed.
  void packed_row(std::int64_t row, const PackedRow& out) const noexcept;

 private:
  friend class SourceModel;
  enum class Kind : std::uint8_t { kZeros, kPlain, kLogarithms, kStored, kPacked };

  void file_row(std::int64_t row, float* out) const noexcept;

  Kind kind_ = Kind::kZeros;
  bool is_transposed_ = false;
  std::int64_t file_rows_ = 0, file_cols_ = 0;
  std::int64_t first_row_ = 0;       // of the stored matrix
  DType type_ = DType::kF32;         // of plain ones
  PackedFormat format_{};            // of packed ones
  const std::byte* data_ = nullptr;  // of plain and packed ones
  std::shared_ptr<const StoredMatrix> stored_;
  std::string tensor_;
};

}  // namespace kl
