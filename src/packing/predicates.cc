#include "packing/predicates.h"

namespace kl {

bool cast_predicate(std::string_view name) {
  return !name.ends_with("A_log") && !name.ends_with("dt_bias") && !name.ends_with("e_score_correction_bias");
}

std::optional<QuantRule> quant_predicate(std::string_view name, int rank, long long cols, QuantRule base) {
  const bool is_conv = name.find("conv1d.") != name.npos || name.find("_conv.conv.") != name.npos;
  if (rank < 2 || is_conv || !cast_predicate(name)) return {};
  const bool is_router = name.ends_with("mlp.gate.weight") || name.ends_with("block_sparse_moe.gate.weight");
  const QuantRule rule = is_router ? QuantRule{8, 64} : base;
  if (cols % rule.group_size != 0) return {};
  return rule;
}

}  // namespace kl
