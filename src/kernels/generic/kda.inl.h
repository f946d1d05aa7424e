#pragma once
// KDA for one head.  The equations are in kernels.h, the plain form in reference/kda.cc and reference/kda_chunked.h.
#include "kernels/generic/functions.inl.h"
#include "kernels/generic/norm.inl.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

/// KdaPrepareFn.  Lengths and their products in double, gates in f32: see the budgets in tests/numerics.h.
void kda_prepare(const KdaPrepareArgs& a) noexcept {
  const std::ptrdiff_t K = a.K;
  const F32 minus_A = broadcast(-exp(a.A_log));
  for (std::ptrdiff_t t = 0; t < a.T; ++t) {
    const float *q_t = a.q + t * a.stride, *k_t = a.k + t * a.stride, *f_t = a.f + t * a.f_stride;
    if (t + kRowsAhead < a.T) prefetch_row(f_t + kRowsAhead * a.f_stride, K);
    float* r = a.records + t * KdaRecord::floats(K);
    const double eps = static_cast<double>(a.l2_eps);
    const double q_scale = 1 / __builtin_sqrt((dot64(q_t, q_t, K) + eps) * static_cast<double>(K));
    const double k_scale = 1 / __builtin_sqrt(dot64(k_t, k_t, K) + eps);
    const F64 q_scales = broadcast(q_scale), k_scales = broadcast(k_scale);
    for_each_vector(K, [&](std::ptrdiff_t i, auto lanes) {
      const F32 g = minus_A * softplus(load(f_t + i, lanes) + load(a.dt_bias + i, lanes));
      const F32 alpha = exp(g), q = load(q_t + i, lanes), k = load(k_t + i, lanes);
      const F64 k_low = low(k) * k_scales, k_high = high(k) * k_scales;
      const F64 q_low = low(q) * q_scales, q_high = high(q) * q_scales;
      store(r + KdaRecord::kAlpha * K + i, alpha, lanes);
      store(r + KdaRecord::kK * K + i, narrow(k_low, k_high), lanes);
      store(r + KdaRecord::kKAlpha * K + i, narrow(k_low * low(alpha), k_high * high(alpha)), lanes);
      store(r + KdaRecord::kQAlpha * K + i, narrow(q_low * low(alpha), q_high * high(alpha)), lanes);
    });
    __builtin_memset(r + 4 * K, 0, 16 * sizeof(float));
    r[KdaRecord::qk(K)] = static_cast<float>(dot64(q_t, k_t, K) * q_scale * k_scale);
    r[KdaRecord::beta(K)] = sigmoid(a.b[t * a.b_stride]);
  }
}

// The recurrence reads ahead.  Both products with the state are taken *before* a token's decay, with decayed vectors,
//
//     p = (alpha k)^T S    r = (alpha q)^T S    u = beta (v - p)    o = r + (q.k) u    S <- diag(alpha) S + k u^T
//
// so the pass over S that writes token t also computes p and r of token t + 1, while the row is in a register: one
// load, one multiply, three FMA and one store per vector of S and token.
//
//     read(1)  write(1)+read(2)  write(2)+read(3) ..  write(T)
//
// The write is fma(alpha, s, k u), which rounds what is kept once.  Rounding alpha s by itself would be worse than a
// second rounding: for alpha = 1 - 2^-24 it always takes a whole ulp off s, token after token.
//
// A slice of 32 value columns is 16 KB for K = 128 and stays in L1.  S passes through memory as f32 at every token and
// the sums run over key channels in ascending order, in partial sums of kKdaFold: neither depends on where a call
// starts or ends, so any split of a sequence gives the same bits.
constexpr int kSliceVectors = static_cast<int>(kKdaSlice / kWidth);
constexpr std::ptrdiff_t kKdaFold = 32;

/// p and r of one token for one slice.
struct SliceReads {
  F32 p[kSliceVectors], r[kSliceVectors];
};

/// One token of one slice.
struct SliceToken {
  const float *alpha, *k, *k_alpha, *q_alpha;
  float qk, beta;

  /// Finds its parts in a record.
  SliceToken(const float* record, std::ptrdiff_t K)
      : alpha(record + KdaRecord::kAlpha * K),
        k(record + KdaRecord::kK * K),
        k_alpha(record + KdaRecord::kKAlpha * K),
        q_alpha(record + KdaRecord::kQAlpha * K),
        qk(record[KdaRecord::qk(K)]),
        beta(record[KdaRecord::beta(K)]) {}
};

/// One pass over a slice: writes token `now` (unless kRead only) and reads for token `next` (unless kWrite only).
enum class Pass { kRead, kWriteAndRead, kWrite };

/// `ahead` is nullptr or memory to pull into L2 on the way, half of its lines in a kRead pass and the rest in a kWrite
/// pass: all at once gains less (docs/kernels.md).
template <Pass pass, class State>
[[gnu::noinline]] void slice_pass(State* S, std::ptrdiff_t K, SliceToken now, const F32* u, SliceToken next,
                                  const State* ahead, SliceReads& reads) {
  constexpr bool kReads = pass != Pass::kWrite, kWrites = pass != Pass::kRead;
  constexpr std::ptrdiff_t kLine = pass == Pass::kWrite ? kKdaSlice / 2 : 0;
  SliceReads total;
  F32 u_j[kSliceVectors];  // in registers: a store to S might, for all the compiler knows, change *u
  for (int j = 0; j < kSliceVectors; ++j) {
    total.p[j] = total.r[j] = zero();
    u_j[j] = kWrites ? u[j] : zero();
  }
  for (std::ptrdiff_t fold = 0; fold < K; fold += kKdaFold) {
    const std::ptrdiff_t end = K - fold < kKdaFold ? K : fold + kKdaFold;
    SliceReads sum;
    for (int j = 0; j < kSliceVectors; ++j) sum.p[j] = sum.r[j] = zero();
    for (std::ptrdiff_t i = fold; i < end; ++i) {
      // All factors first: a store to S might, for all the compiler knows, change them.
      const F32 alpha = broadcast(now.alpha[i]), k = broadcast(now.k[i]);
      const F32 k_alpha = broadcast(next.k_alpha[i]), q_alpha = broadcast(next.q_alpha[i]);
      State* S_i = S + i * kKdaSlice;
      if (pass != Pass::kWriteAndRead && ahead) __builtin_prefetch(ahead + i * kKdaSlice + kLine, 1, 2);
#pragma GCC unroll 4
      for (int j = 0; j < kSliceVectors; ++j) {
        F32 s = load(S_i + j * kWidth);
        if constexpr (kWrites) {
          s = fma(alpha, s, k * u_j[j]);
          store(S_i + j * kWidth, s);
          if constexpr (sizeof(State) == 2) s = load(S_i + j * kWidth);  // the next token finds what was kept
        }
        if constexpr (kReads) {
          sum.p[j] = fma(k_alpha, s, sum.p[j]);
          sum.r[j] = fma(q_alpha, s, sum.r[j]);
        }
      }
    }
    for (int j = 0; j < kSliceVectors; ++j) {
      total.p[j] = total.p[j] + sum.p[j];
      total.r[j] = total.r[j] + sum.r[j];
    }
  }
  if constexpr (kReads) reads = total;
}

/// Calls f(j, lanes) for each vector of a slice of which `columns` are real.
template <class F>
inline void for_each_slice_vector(std::ptrdiff_t columns, F f) {
  for_each_vector(columns < kKdaSlice ? columns : kKdaSlice,
                  [&](std::ptrdiff_t c, auto lanes) { f(static_cast<int>(c / kWidth), c, lanes); });
}

/// All tokens of one slice; v and o point at its first column, `columns` of which exist (padding columns stay zero).
template <class State>
void slice_tokens(const KdaRecurrenceArgs& a, State* S, const float* v, float* o, std::ptrdiff_t columns,
                  const State* ahead) {
  const std::ptrdiff_t K = a.K;
  SliceReads reads;
  F32 u[kSliceVectors];
  SliceToken now(a.records, K);
  slice_pass<Pass::kRead, State>(S, K, now, nullptr, now, ahead, reads);
  for (std::ptrdiff_t t = 0;; ++t) {
    for (F32& u_j : u) u_j = zero();
    for_each_slice_vector(columns, [&](int j, std::ptrdiff_t c, auto lanes) {
      u[j] = broadcast(now.beta) * (load(v + t * a.v_stride + c, lanes) - reads.p[j]);
      store(o + t * a.o_stride + c, fma(broadcast(now.qk), u[j], reads.r[j]), lanes);
    });
    if (t + 1 == a.T) break;
    const SliceToken next(a.records + (t + 1) * KdaRecord::floats(K), K);
    slice_pass<Pass::kWriteAndRead, State>(S, K, now, u, next, nullptr, reads);
    now = next;
  }
  slice_pass<Pass::kWrite, State>(S, K, now, u, now, ahead, reads);
}

/// State slices s0 <= s < s1, one after the other.
template <class State>
void slices(const KdaRecurrenceArgs& a, State* S, std::ptrdiff_t s0, std::ptrdiff_t s1) {
  for (std::ptrdiff_t s = s0; s < s1; ++s) {
    State* S_s = S + s * a.K * kKdaSlice;
    // For one token a slice is fetched from RAM rather than worked on: pull the next one in meanwhile.
    const State* ahead = a.T == 1 && s + 1 < s1 ? S_s + a.K * kKdaSlice : nullptr;
    slice_tokens(a, S_s, a.v + s * kKdaSlice, a.o + s * kKdaSlice, a.V - s * kKdaSlice, ahead);
  }
}

/// KdaRecurrenceFn: slice after slice, each through all its tokens.
void kda_recurrence(const KdaRecurrenceArgs& a, std::ptrdiff_t s0, std::ptrdiff_t s1) noexcept {
  if (a.T == 0) return;
  if (a.S_type == DType::kF32) return slices(a, static_cast<float*>(a.S), s0, s1);
  slices(a, static_cast<Bf16*>(a.S), s0, s1);
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
