#pragma once
// How far a kernel may be from its double-precision reference, in eps (2^-23) of the largest expected value of the
// tensor, and why that is enough.  One correctly rounded result may be off by 0.5.  Every budget was derived, then
// measured; measured worst cases over tests/kernels are given in brackets.
#include "tests/support/close.h"

namespace kl::test {

//                                eps of peak
constexpr Budget kMatmul{3, "two-level f32 sums err by 1 eps rms of an output, K <= 9216 [1.9]"};
constexpr Budget kPackedIntegers{12, "one f32 sum of 2 K / 32 terms, each exact up to three roundings [4.0]"};
constexpr Budget kPackedF32{5, "partial sums of 64 in ascending order, weights rounded once [3.3]"};
constexpr Budget kExact{0.5, "one correctly rounded result"};
constexpr Budget kNorm{0.6, "double up to the one rounding of the result [0.1]"};
constexpr Budget kGatedNorm{1.5, "as a norm, times a sigmoid within 2.5 ulp [0.9]"};
constexpr Budget kSiluMul{2, "silu within 2.5 ulp, ulp <= eps of the value, and a product [1.0]"};
constexpr Budget kShortConv{3, "four products in f32, then silu [1.8]"};
constexpr Budget kKdaRecord{2, "alpha carries (1 + |g|) ulp and shrinks as fast; the rest is double [1.0]"};
constexpr Budget kKdaOutput{6, "reads of 128 keys, state as below [3.6]"};
constexpr Budget kKdaState{4, "one rounding per token of what is kept, gathered over 50 tokens without decay [2.6]"};
constexpr Budget kKdaLongMemory{25, "2000 such roundings at random, the worst of 2048 elements [17.5]"};
constexpr Budget kKdaBf16State{
    0x1p17, "a bf16 step is 2^16 eps; where a sum falls between two, the tables may round it to different ones [4e4]"};
constexpr Budget kKdaChunked{8, "64 decays multiplied, 64 corrections solved in another order, all in f32 [5.1]"};
constexpr Budget kRouterWeights{2.5, "two scores of 2.5 ulp in a quotient [1.7]"};
constexpr Budget kMoeCombine{0.6, "double up to the one rounding of the result [0.1]"};
constexpr Budget kAttention{8, "a weight carries eps times the size of its score, here up to 6 [5.1]"};
constexpr Budget kAttentionBf16{
    0x1p15, "a weight between two bf16 may be rounded to either: 2^15 eps of it, and it is a part of the sum [8.6e3]"};
constexpr Budget kMatmulBf16{6, "one f32 sum of K <= 513 exact products [3.4]"};

}  // namespace kl::test
