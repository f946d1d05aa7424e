#pragma once
// The matrices MLX writes, once their tensors are known to have the right types and shapes.
#include <memory>

#include "encodings/mlx.h"

namespace kl {

/// Tensors of one matrix.
struct MlxParts {
  const FileTensor* weight;
  const FileTensor* scales;
  const FileTensor* biases;  ///< null unless affine
};

/// "MLX affine, 4 bits, groups of 64"
std::string mlx_encoding_text(const MlxSettings& settings);

/// REQUIRES: parts as MlxEncoding describes them for rows x cols.
std::shared_ptr<const StoredMatrix> mlx_matrix(const MlxSettings& settings, const MlxParts& parts, std::int64_t rows,
                                               std::int64_t cols);

}  // namespace kl
