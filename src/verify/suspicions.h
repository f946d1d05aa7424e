#pragma once
#include <string>
#include <vector>

#include "kl/verify.h"
#include "verify/tensor_scan.h"

namespace kl {

/// What is judged as one: a tensor, or one expert or head of a tensor that stacks them.
struct Unit {
  std::string name;  ///< of the tensor, "[7]" behind it for a part
  std::string role;  ///< the name with # for numbers: the same in all layers and experts
  std::string file;  ///< without the folder
  std::string dtype;
  const std::byte* data = nullptr;
  std::size_t bytes = 0;
  NumberLayout layout;
  TensorStats stats;
};

/// Numbers that are none: problems.  Rule: every number of every tensor is finite.
void find_not_finite(const std::vector<Unit>& units, std::vector<Finding>& findings);

/// What a trained model does not have, though it could be computed with.
///
///     zero       nothing but zeros, the router's correction bias excepted
///     equal      one number over and over, norms and biases excepted: so they may have begun
///     huge       magnitude above 10,000
///     outlier    one of at least 1,024 numbers 1,000 times the root mean square of the rest
///     peers      of three or more with the same role, root mean square 8 times above or below their median, and in
///                powers of two 8 times farther from it than the median one
///     duplicate  the bytes of another tensor of at least 256 bytes, an lm_head beside tied embeddings excepted
///
/// Reasons  no weight of the models at hand comes near these bounds; a flipped exponent bit of bf16 makes an ordinary weight
///          2^16 or 2^128 times larger; an initial norm or bias is constant.
void find_suspicions(const std::vector<Unit>& units, bool embeddings_are_tied, std::vector<Finding>& findings);

/// "model.layers.3.mlp.experts.17.w1.weight" -> "model.layers.#.mlp.experts.#.w1.weight"
std::string role_of(const std::string& tensor_name);

}  // namespace kl
