#pragma once
#include <string>
#include <vector>

#include "kl/verify.h"
#include "verify/measurement.h"

namespace kl {

/// Why the budgets of a precision are what they are.
const char* budget_reason(Precision precision);

/// Measurements held to the budgets of a precision; run.switches stays empty.
///
/// f32     every row within 2.4e-5 of its scale, the same experts.  The largest difference from float64 seen in any f32
///         implementation is 1.2e-5 of the largest logit (docs/numerics.md), and both sides may be one.
/// bf16    the middle row within 0.03 sqrt(layers) of its scale, other experts for at most a third of the tokens.  transformers
///         in bf16 was measured to be off by up to 0.011 sqrt(layers) on a small random model (headdims of the goldens), and
///         by 0.021 sqrt(layers) on one whose f32 weights were rounded as well (tiny): roundings add up in random directions.
///         Rows whose experts differ are off by more, so the middle one is judged.
ParityRun judge(const std::vector<MeasuredArray>& measured, const Dump& dump, Precision precision, int num_layers);

}  // namespace kl
