#pragma once
#include <optional>
#include <string_view>

namespace kl {

/// May a conversion to a narrower float type (`--dtype`) touch this tensor?
///
/// False for A_log and dt_bias: they sit inside exp(A_log) softplus(f + dt_bias), summed over a whole context, where a
/// rounding error of 2^-9 becomes a different decay.  False for the router's correction bias: it exists to break
/// near-ties between scores, and rounding it breaks them differently.  The released checkpoint keeps the first two in
/// f32 itself.
/// Source    cast_predicate of mlx-lm's kimi_linear.
bool cast_predicate(std::string_view tensor_name);

/// How a module's weight may be quantised.
struct QuantRule {
  int bits = 4;
  int group_size = 64;
};

/// The rule for a weight [rows, cols] when the model is quantised with `base`; nothing = it keeps its float type.
///
/// Only matrices are quantised, and only if their rows divide into groups.  Norms and convolutions never are: they are
/// few, and each of their numbers touches every token.  The router gets 8 bits in groups of 64 whatever the rest gets:
/// its output is compared, not summed, so a small error sends tokens to other experts.
/// Source    quant_predicate of mlx-lm's kimi_linear.
std::optional<QuantRule> quant_predicate(std::string_view tensor_name, int rank, long long cols, QuantRule base);

}  // namespace kl
