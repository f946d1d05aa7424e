#pragma once
// Elementary functions of a vector of floats, written once for every instruction set, so that no libm decides the bits.
// sigmoid and silu are within 2.5 ulp of the exact value, decays exp(-A softplus) within 4 (1 + |g|)
// (tests/kernels/functions_test.cc).  NaN gives NaN.
#include "kernels/generic/vectors.inl.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

/// e^x.  Results below 2^-125 become 0, x above 88.72 gives infinity.
///
///     n = round(x / ln 2),  r = x - n ln 2 in [-0.347, 0.347],  e^x = 2^n (1 + r + r^2 q(r))
///
/// ln 2 is split in two parts so that n times the first (9 bits) is exact; q is a minimax polynomial (error 0.03 ulp).
inline F32 exp(F32 x) {
  const F32 lowest = broadcast(-86.64f), highest = broadcast(88.72f);
  F32 y = max(lowest, x);  // in this order NaN survives
  y = select_greater(y, highest, highest, y);
  const F32 n = round(y * broadcast(1.44269504f));
  F32 r = negated_fma(n, broadcast(0.693359375f), y);
  r = negated_fma(n, broadcast(-2.12194440e-4f), r);
  F32 q = fma(broadcast(1.3838326558e-3f), r, broadcast(8.3691654727e-3f));
  q = fma(q, r, broadcast(4.1668102145e-2f));
  q = fma(q, r, broadcast(1.6666516662e-1f));
  q = fma(q, r, broadcast(4.9999994040e-1f));
  const F32 e = add_to_exponent(broadcast(1.0f) + fma(q, r * r, r), n);
  const F32 bounded = select_greater(lowest, x, zero(), e);
  return select_greater(x, highest, broadcast(__builtin_inff()), bounded);
}

/// ln(1 + y) for 0 <= y <= 1, accurate for tiny y too.
///
///     ln(1 + y) = 2 artanh(s) = 2 s + s^3 q(s^2),  s = y / (2 + y) <= 1/3
inline F32 log1p_of_fraction(F32 y) {
  const F32 s = y / (broadcast(2.0f) + y), z = s * s;
  F32 q = fma(broadcast(2.8029429913e-1f), z, broadcast(2.7998211980e-1f));
  q = fma(q, z, broadcast(4.0021750331e-1f));
  q = fma(q, z, broadcast(6.6666412354e-1f));
  return fma(q, z * s, s + s);
}

/// ln(1 + e^x), without a threshold: max(x, 0) + ln(1 + e^-|x|).
inline F32 softplus(F32 x) { return max(zero(), x) + log1p_of_fraction(exp(zero() - abs(x))); }

/// 1 / (1 + e^-x)
inline F32 sigmoid(F32 x) { return broadcast(1.0f) / (broadcast(1.0f) + exp(zero() - x)); }

/// x / (1 + e^-x)
inline F32 silu(F32 x) { return x / (broadcast(1.0f) + exp(zero() - x)); }

/// e^x of one number.
inline float exp(float x) { return first_lane(exp(broadcast(x))); }
inline float sigmoid(float x) { return first_lane(sigmoid(broadcast(x))); }

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
