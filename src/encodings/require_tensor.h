#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "encodings/encoding.h"

namespace kl {

/// Any of F32, F16 and BF16, for require_tensor().
inline constexpr std::string_view kAnyFloat = "F32, F16 or BF16";

/// The tensor `name` if it is of that type and shape; else nullptr, after a complaint that ends in `why` the shape is expected.
const FileTensor* require_tensor(TensorSource& source, const std::string& name, std::string_view dtype,
                                 const std::vector<std::int64_t>& shape, const std::string& why);

/// Product of all but the last.
std::int64_t rows_of(const std::vector<std::int64_t>& shape);

/// The shape with another last element.
std::vector<std::int64_t> with_cols(std::vector<std::int64_t> shape, std::int64_t cols);

}  // namespace kl
