#include "encodings/require_tensor.h"

#include <fmt/format.h>

#include "base/numbers.h"

namespace kl {

const FileTensor* require_tensor(TensorSource& source, const std::string& name, std::string_view dtype,
                                 const std::vector<std::int64_t>& shape, const std::string& why) {
  const FileTensor* tensor = source.find(name);
  const std::string expected = fmt::format("{} {} ({})", dtype, shape_text(shape), why);
  if (tensor == nullptr) {
    source.complain(ErrorCode::kCorrupt, name, "missing, expected " + expected);
    return nullptr;
  }
  const bool has_type = dtype == kAnyFloat ? parse_dtype(tensor->dtype).has_value() : tensor->dtype == dtype;
  if (has_type && tensor->shape == shape) return tensor;
  source.complain(ErrorCode::kCorrupt, name,
                  fmt::format("expected {}, got {} {}", expected, tensor->dtype, shape_text(tensor->shape)));
  return nullptr;
}

std::int64_t rows_of(const std::vector<std::int64_t>& shape) {
  std::int64_t rows = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

std::vector<std::int64_t> with_cols(std::vector<std::int64_t> shape, std::int64_t cols) {
  shape.back() = cols;
  return shape;
}

}  // namespace kl
