#pragma once
#include <cstddef>
#include <vector>

#include "kernels/packed.h"

namespace kl {

/// What is known of the vectors x [K] that a matrix will multiply.  All [K, K].
struct InputKnowledge {
  std::vector<float> H;  ///< sum x x^T, and some more on the diagonal
  std::vector<float> U;  ///< upper, U^T U = H^-1

  /// sum (meant - x) x^T  H^-1, where x should have been `meant`: W + W correction does to x, as nearly as it can, what W
  /// does to `meant`.  Empty: x is what it should be.
  std::vector<float> correction;
};

/// pack_block() with knowledge of the inputs: makes (t - rounded) H (t - rounded)^T small, t = w + w correction, of each row.
///
/// Shapes    w: [rows, K], rows <= 16; block: format.block_bytes(K).
/// Method    From left to right, what a weight is rounded by is made up for by those after it:
///
///               e_j = (t_j - rounded_j) / U_jj,   t_k -= e_j U_jk  for k > j
///
///           with scale and minimum of a group such that sum (t_j - rounded_j)^2 / U_jj^2 is least when it begins.  Then
///           each group in turn takes the best scale and minimum for its numbers, and each weight the best number given
///           all others, until nothing gets better or for eight rounds.
/// Returns   the sum over rows of (t - rounded) H (t - rounded)^T.
/// Source    Frantar et al., GPTQ (2022), for the first half.
/// REQUIRES: finite weights whose scales fit the format's type.
double pack_block_for(const InputKnowledge& inputs, const float* w, std::ptrdiff_t rows, std::ptrdiff_t K,
                      const PackedFormat& format, std::byte* block);

}  // namespace kl
