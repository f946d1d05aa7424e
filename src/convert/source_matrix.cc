#include "convert/source_matrix.h"

#include <algorithm>
#include <cmath>

#include "base/numbers.h"
#include "kernels/select.h"
#include "packing/pack.h"

namespace kl {
void RowScratch::reserve(std::int64_t cols, std::int64_t rows_at_once) {
  const auto padded = static_cast<std::size_t>(cols + kTileInputs);
  if (row.size() < padded) row.resize(padded), scale.resize(padded), minimum.resize(padded), q.resize(padded);
  const auto all = static_cast<std::size_t>(cols * rows_at_once);
  if (rows.size() < all) rows.resize(all);
}

HeldForm SourceMatrix::form() const {
  switch (kind_) {
    case Kind::kPlain:
      return {type_, {}};
    case Kind::kStored: {
      const HeldForm form = stored_->held_as();
      return is_transposed_ && form.type == DType::kPacked ? HeldForm{} : form;
    }
    case Kind::kPacked:
      return is_transposed_ ? HeldForm{} : HeldForm{DType::kPacked, format_};
    default:
      return {};
  }
}

std::string SourceMatrix::family() const {
  if (kind_ == Kind::kPacked) return "packed";
  return stored_ ? stored_->encoding().substr(0, stored_->encoding().find(' ')) : "plain";
}

const std::byte* SourceMatrix::bytes_at(std::int64_t first) const {
  if (kind_ != Kind::kPlain || is_transposed_) return nullptr;
  return data_ + static_cast<std::size_t>(first * file_cols_) * size_of(type_);
}

/// Row `row` of the matrix as the file has it.
void SourceMatrix::file_row(std::int64_t row, float* out) const noexcept {
  switch (kind_) {
    case Kind::kZeros:
      std::fill_n(out, file_cols_, 0.0f);
      break;
    case Kind::kLogarithms:
    case Kind::kPlain:
      read_numbers(number_type(type_), data_ + static_cast<std::size_t>(row * file_cols_) * size_of(type_),
                   static_cast<std::size_t>(file_cols_), out);
      break;
    case Kind::kStored:
      stored_->decode_row(first_row_ + row, out);
      break;
    case Kind::kPacked:
      available_kernels().front()->weight_row({data_, DType::kPacked, file_rows_, file_cols_, file_cols_, format_}, row,
                                              out);
  }
  if (kind_ == Kind::kLogarithms) {
    for (std::int64_t i = 0; i < file_cols_; ++i) out[i] = static_cast<float>(std::log(-static_cast<double>(out[i])));
  }
}

void SourceMatrix::decode(std::int64_t first, std::int64_t count, float* out, RowScratch& scratch) const noexcept {
  if (!is_transposed_) {
    for (std::int64_t r = 0; r < count; ++r) file_row(first + r, out + r * file_cols_);
    return;
  }
  for (std::int64_t f = 0; f < file_rows_; ++f) {
    file_row(f, scratch.row.data());
    for (std::int64_t r = 0; r < count; ++r) out[r * file_rows_ + f] = scratch.row[static_cast<std::size_t>(first + r)];
  }
}

void SourceMatrix::packed_row(std::int64_t row, const PackedRow& out) const noexcept {
  const PackedFormat format = form().format;
  if (kind_ == Kind::kStored) {
    stored_->packed_row(first_row_ + row, out);
  } else {
    get_packed_row(data_ + row / kTileOutputs * format.block_bytes(file_cols_), file_cols_, format, row % kTileOutputs,
                   out);
  }
  if (format.has_minimum) return;
  const std::int64_t groups = (file_cols_ + format.group - 1) / format.group;
  for (std::int64_t g = 0; g < groups; ++g) out.minimum[g] = -std::ldexp(out.scale[g], format.bits - 1);
}

}  // namespace kl
