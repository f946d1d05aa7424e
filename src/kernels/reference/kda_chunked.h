#pragma once
// KDA twice, as mathematics: the recurrence word for word, and the chunked (WY) form that turns it into matrix
// products.  Both are specifications: they allocate, they are slow, and nothing but tests and docs/kda.md uses them.
// tests/kernels/kda_chunked_test.cc holds them equal to each other and to the kernels.
//
// From the recurrence to the chunked form
// ---------------------------------------
// One head, a chunk of C tokens (rows i = 1..C), S the state before it.  Every token does
//
//     S_i = diag(alpha_i) S_{i-1} + k_i u_i^T          u_i = beta_i (v_i - (diag(alpha_i) S_{i-1})^T k_i)
//
// Step 1, unroll.  Write d(j,i) = alpha_{j+1} * .. * alpha_i for the decay a key written at j has suffered by i, per
// channel (d(i,i) = 1), and D_i = d(0,i) for the decay of the old state; in docs/kda.md they are e^(G_i - G_j) and
// e^(G_i).  Then
//
//     S_i = diag(D_i) S + sum_{j <= i} (k_j * d(j,i)) u_j^T                                                     (1)
//
// Step 2, what each token finds.  Put (1) for i-1, decayed by alpha_i, into u_i:
//
//     u_i = beta_i (v_i - S^T (k_i * D_i)) - sum_{j < i} B_ij u_j,    B_ij = beta_i k_i . (k_j * d(j,i))          (2)
//
// (2) is a triangular system (I + B) u = ..: row i needs only the rows above.  Its right side is linear in S, so it can
// be solved without knowing S:
//
//     (I + B) Y = diag(beta) (K * D)      Y [C, K]          (I + B) Z = diag(beta) V      Z [C, V]
//     u = Z - Y S                                                                                             (3)
//
// (the WY form: all C corrections of the chunk as two matrices).
//
// Step 3, read.  o_i = S_i^T q_i with (1):
//
//     o_i = S^T (q_i * D_i) + sum_{j <= i} X_ij u_j,                  X_ij = q_i . (k_j * d(j,i))                (4)
//
// Step 4, carry.  (1) for i = C:  S <- diag(D_C) S + sum_j (k_j * d(j,C)) u_j^T.                                 (5)
//
// Worked example, K = V = 1, C = 2, S = 8, alpha = 1/2, 1/4; k = q = 1, beta = 1/2, v = 6, 3:
//     recurrence   S: 8 -> 4, u = (6-4)/2 = 1, S = 5, o_1 = 5;    5 -> 5/4, u = (3 - 5/4)/2 = 7/8, S = 17/8 = o_2
//     chunk        D = 1/2, 1/8;  B_21 = 1/2 * d(1,2) = 1/8;  Y = 1/4, 1/16 - 1/32 = 1/32;  Z = 3, 3/2 - 3/8 = 9/8
//                  u = 3 - 8/4 = 1, 9/8 - 8/32 = 7/8;  o_1 = 8/2 + 1 = 5;  o_2 = 8/8 + 1/4 + 7/8 = 17/8 = S
//
// Decays are running *products* of alpha.  The usual e^(G_i - G_j) of a cumulative sum G of gates overflows when
// factored (gates have no lower bound), and even kept together it loses digits in f32: |G| grows with the chunk, and
// the difference of two large numbers keeps an absolute error |G| 2^-24 (2e-5 .. 6e-5 of the output for strong gates,
// against 2e-6 here).  A product of numbers in [0, 1] cannot overflow, has relative error C 2^-24, and needs no exp.
#include <cstddef>

namespace kl::reference {

/// T tokens of one head.
template <class Real>
struct KdaTokens {
  const Real* q;      // [T, K], normalised and scaled
  const Real* k;      // [T, K], normalised
  const Real* v;      // [T, V]
  const Real* alpha;  // [T, K] decays in [0, 1], e^g
  const Real* beta;   // [T] write strengths
  std::ptrdiff_t T, K, V;
};

/// The recurrence: decay, read with k, write, read with q.
/// Shapes    S: [K, V], updated.   o: [T, V].
/// Source    fla/ops/kda/naive.py naive_recurrent_kda.
template <class Real>
void kda_recurrent(const KdaTokens<Real>& x, Real* S, Real* o);

/// The same in chunks of C tokens (the last one may be shorter): equations (1) to (5) above.
/// Shapes    as kda_recurrent.
/// Numerics  decays are products of alpha, never exponentials of sums.
/// Source    Yang et al. 2024 (chunked delta rule); tech report (KDA); the decays by products are ours.
template <class Real>
void kda_chunked(const KdaTokens<Real>& x, std::ptrdiff_t C, Real* S, Real* o);

}  // namespace kl::reference
