#pragma once
// Assembly, because a compiler would fold the loops away or keep the sums in memory.
// Twelve independent chains hide the latency of two units.

#define KL_ZERO(i) "vpxor %%xmm" #i ", %%xmm" #i ", %%xmm" #i "\n"
#define KL_ZERO_ALL \
  KL_ZERO(0)        \
  KL_ZERO(1)        \
  KL_ZERO(2)        \
  KL_ZERO(3) KL_ZERO(4) KL_ZERO(5) KL_ZERO(6) KL_ZERO(7) KL_ZERO(8) KL_ZERO(9) KL_ZERO(10) KL_ZERO(11) KL_ZERO(12)

#define KL_CHAIN(op, r, i) op " %%" r "12, %%" r "12, %%" r #i "\n"
#define KL_TWELVE_CHAINS(op, r) \
  KL_CHAIN(op, r, 0)            \
  KL_CHAIN(op, r, 1)            \
  KL_CHAIN(op, r, 2)            \
  KL_CHAIN(op, r, 3)            \
  KL_CHAIN(op, r, 4)            \
  KL_CHAIN(op, r, 5)            \
  KL_CHAIN(op, r, 6) KL_CHAIN(op, r, 7) KL_CHAIN(op, r, 8) KL_CHAIN(op, r, 9) KL_CHAIN(op, r, 10) KL_CHAIN(op, r, 11)

/// Defines a function that runs `body` the given number of times (at least once).
#define KL_PEAK_LOOP(name, body)                                                                                  \
  void name(std::ptrdiff_t rounds) noexcept {                                                                     \
    asm volatile(KL_ZERO_ALL "1:\n" body "dec %0\njnz 1b\n"                                                       \
                 : "+r"(rounds)                                                                                   \
                 :                                                                                                \
                 : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
                   "xmm11", "xmm12");                                                                             \
  }
