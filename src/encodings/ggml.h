#pragma once
#include "encodings/encoding.h"

namespace kl {

/// Matrices as ggml stores them: rows of blocks, in one tensor `X.weight` whose dtype names the type of block.
///
///     Q4_0                     4 bits, groups of 32, f16 scales             exactly as the kernels have it
///     Q4_1                     4 bits, with f16 minima
///     Q4_K                     4 bits, scales d sc and minima -dmin mn, products that f32 holds exactly
///     Q5_0, Q8_0               8 bits about the middle, f16 scales
///     Q5_1, Q5_K               8 bits with minima
///     IQ4_NL, IQ4_XS, MXFP4    8 bits about the middle: the values of their tables are integers
///     Q2_K                     4 bits, groups of 16, scales d sc and minima -dmin mn
///     Q3_K, Q6_K               4 and 6 bits about the middle, groups of 16, scales d sc
///
/// Source    ggml-quants.c; layouts in docs/formats.md.
class GgmlEncoding : public Encoding {
 public:
  std::string_view name() const override { return "GGUF"; }
  StoredModule find(const std::string& module, const std::vector<std::int64_t>& shape,
                    TensorSource& source) const override;
};

}  // namespace kl
