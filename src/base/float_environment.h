#pragma once
#include <immintrin.h>

namespace kl {

/// Round to nearest, keep subnormals, no traps: the arithmetic that docs/numerics.md is about, whatever the host
/// program has set for its threads.  The caller's setting comes back when the object goes.
class DefaultFloatEnvironment {
 public:
  DefaultFloatEnvironment() : callers_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
  ~DefaultFloatEnvironment() { _mm_setcsr(callers_); }
  DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
  DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

 private:
  unsigned callers_;
};

}  // namespace kl
