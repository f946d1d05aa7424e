#pragma once
// How far each kernel may be from its double-precision reference, in units of eps (2^-23) of the largest expected value.
#include "tests/support/close.h"

namespace kl::test {

constexpr Budget kExact{0, "moves data"};
constexpr Budget kMatmul{0.1, "x"};
constexpr Budget kNorm{0.1, "x"};
constexpr Budget kGatedNorm{0.1, "x"};
constexpr Budget kSiluMul{0.1, "x"};
constexpr Budget kShortConv{0.1, "x"};
constexpr Budget kKdaRecord{0.1, "x"};
constexpr Budget kKdaOutput{0.1, "x"};
constexpr Budget kKdaState{0.1, "x"};
constexpr Budget kKdaChunked{0.1, "x"};
constexpr Budget kRouterWeights{0.1, "x"};
constexpr Budget kMoeCombine{0.1, "x"};
constexpr Budget kAttention{0.1, "x"};

}  // namespace kl::test
