#pragma once
// The matrices of compressed-tensors, once their tensors are known to have the right types and shapes.
#include <memory>

#include "encodings/compressed_tensors.h"

namespace kl {

/// Tensors of one matrix.
struct CompressedParts {
  const FileTensor* weight;
  const FileTensor* scale;
  const FileTensor* zero_point = nullptr;    ///< of integers that are not symmetric
  const FileTensor* global_scale = nullptr;  ///< of nvfp4
};

/// REQUIRES: parts as CompressedTensorsEncoding describes them for rows x cols.
std::shared_ptr<const StoredMatrix> compressed_matrix(const CompressedScheme& scheme, const CompressedParts& parts,
                                                      std::int64_t rows, std::int64_t cols);

}  // namespace kl
