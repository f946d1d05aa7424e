#pragma once
// The contract between layers and hardware: one table of plain functions per instruction set.
//
// What every table promises
//   1. noexcept, no allocation, no threads: a call works on the range it is given, the caller splits the work.
//   2. Every output element is one fixed sequence of operations that depends on nothing but its own inputs: not on how
//      many rows, tokens, lanes or other outputs share the call.  This makes results independent of batching.
//   3. `avx2` and `avx512` perform the *same* sequence (16 virtual lanes, explicit FMA, own exp), so they agree bit
//      for bit.  `reference` is the specification: it looks like the equation, adds in double, and is compared by
//      budget (tests/numerics.h).
//
// This header (with base/dtype.h) is all an ISA folder may include besides generic/, <immintrin.h>, <cpuid.h>,
// <cstddef> and <cstdint>: of inline library code compiled with wider instructions the linker could keep that copy for
// the whole program (docs/kernels.md).
#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "kernels/latents.h"
#include "kernels/packed.h"

namespace kl {

/// A matrix of weights [N, K], mapped from a file: y = W x.  Row-major, or packed in tiles.
struct WeightMatrix {
  const void* data = nullptr;
  DType type = DType::kF32;
  std::ptrdiff_t N = 0;       ///< outputs
  std::ptrdiff_t K = 0;       ///< inputs
  std::ptrdiff_t stride = 0;  ///< elements between rows, >= K; not used if packed
  PackedFormat format{};      ///< if type is kPacked
};

/// Columns of a KDA state slice, see KdaRecurrenceArgs.
inline constexpr std::ptrdiff_t kKdaSlice = 32;

/// Elements of one head's KDA state: whole slices, whatever the number of value columns.
constexpr std::ptrdiff_t kda_state_elements(std::ptrdiff_t K, std::ptrdiff_t V) {
  return (V + kKdaSlice - 1) / kKdaSlice * kKdaSlice * K;
}

/// Most experts a router chooses among; tables keep arrays of this size on the stack.
inline constexpr std::ptrdiff_t kMaxExperts = 4096;

/// (query, head) rows an attention call works on at once: one row per vector lane.
inline constexpr std::ptrdiff_t kLanes = 32;

/// Keys of one attention block.  Blocks lie on a grid of absolute positions, so results do not depend on who asks when.
inline constexpr std::ptrdiff_t kKeyBlock = 128;

/// dst = row n of a matrix, widened: embeddings.
/// Shapes    w: [N, K]   dst: [K].
/// Numerics  exact for f16, bf16 and f32 weights; packed ones, scale q + minimum, are rounded once.
using WeightRowFn = void (*)(const WeightMatrix& w, std::ptrdiff_t n, float* dst) noexcept;

/// Rounds the inputs k0 <= k < k1 of a row of activations to 8 bits, as ActivationRow lays them out.
/// REQUIRES: k0 a multiple of kTileInputs, and k1 too unless it is K.
/// Shapes    x: [k1 - k0]   row: ActivationRow::bytes(K), on a cache line.
/// Numerics  per 32 inputs: scale = max|x| / 127, q = x (127 / max|x|) rounded to nearest even.  The same bytes from
/// every table.  A group with a NaN or an infinity gets such a scale, so that every output it reaches shows it.
using QuantizeRowFn = void (*)(const float* x, std::ptrdiff_t K, std::byte* row, std::ptrdiff_t k0,
                               std::ptrdiff_t k1) noexcept;

/// A matrix of weights and the rows it meets.
struct MatmulArgs {
  WeightMatrix w;  // [N, K]
  const float* x;  // [M, K], rows x_stride apart
  std::ptrdiff_t x_stride;
  float* y;  // [M, N], rows y_stride apart
  std::ptrdiff_t y_stride;
  std::ptrdiff_t M;
  const std::byte* q = nullptr;  // the same rows quantised, ActivationRow::bytes(K) apart; for packed weights only
  const void* next = nullptr;    // packed weights that the caller reads after these: they may be pulled into cache
};

/// Rows times a matrix, outputs n0 <= n < n1: every linear layer of the model.
///
///     y[m][n] = sum_k W[n][k] x[m][k]
///
/// Packed weights meet `q` in integers where it is given, else `x` in f32.  REQUIRES: n0 a multiple of 16 for them.
/// Shapes    w: [N, K]   x: [M, K]   y: [M, N].
/// Aliasing  y must not overlap x.
/// Numerics  f32 FMA in 16 lanes, partial sums of 256 inputs; the same for every M (generic/matmul.inl.h).  In integers:
/// per 32 inputs the exact sum of products; these times both scales, and minimum times sum, are added by FMA in order.
using MatmulFn = void (*)(const MatmulArgs& a, std::ptrdiff_t n0, std::ptrdiff_t n1) noexcept;

/// The matrix used the other way round, all outputs: MLA expands latents to keys with it.
///
///     y[m][k] = sum_n x[m][n] W[n][k]
///
/// Shapes    w: [N, K], not packed   x: [M, N], rows x_stride apart   y: [M, K], rows y_stride apart.
/// Aliasing  y must not overlap x.
/// Numerics  f32 FMA in ascending n, partial sums of 32 terms.
using MatmulTransposedFn = void (*)(const MatmulArgs& a) noexcept;

/// Scales one vector to unit mean square, then per channel.
///
///     y = w * x / sqrt(mean(x^2) + eps)
///
/// Shapes    x, w, y: [n].
/// Aliasing  y may be x.
/// Numerics  double, rounded once.
/// Source    modeling_kimi.py KimiRMSNorm.
using RmsNormFn = void (*)(const float* x, const float* w, float eps, std::ptrdiff_t n, float* y) noexcept;

/// y += x.
/// Shapes    x, y: [n].
using AddFn = void (*)(const float* x, std::ptrdiff_t n, float* y) noexcept;

/// y = silu(gate) * up, silu(z) = z / (1 + e^-z): the middle of an MLP.
/// Shapes    gate, up, y: [n].
/// Aliasing  y may be gate or up.
/// Source    modeling_kimi.py KimiMLP.
using SiluMulFn = void (*)(const float* gate, const float* up, std::ptrdiff_t n, float* y) noexcept;

/// One stream (q, k or v) of one sequence.
struct ShortConvArgs {
  const float* w;  // [W, ...] tap-major, rows w_stride apart; w[W-1] multiplies the current token
  std::ptrdiff_t w_stride;
  std::ptrdiff_t W;  // taps
  float* state;      // [W-1, ...] rows state_stride apart: the last W-1 rows of x, oldest first; updated
  std::ptrdiff_t state_stride;
  const float* x;  // [T, ...] rows x_stride apart: raw projections
  std::ptrdiff_t x_stride;
  float* y;  // [T, ...] rows y_stride apart; must not overlap x
  std::ptrdiff_t y_stride;
  std::ptrdiff_t T;
};

/// Causal depthwise convolution and SiLU over channels c0 <= c < c1 of one stream of one sequence:
///
///     y_t[c] = silu( sum_j w[j][c] x_{t-W+1+j}[c] ),   x before the first new token = state
///
/// Shapes    w: [W, C]   state: [W-1, C]   x, y: [T, C].
/// Numerics  f32 FMA from the oldest tap to the newest.  Any split of T into calls gives the same bits.
/// Source    modeling_kimi.py KimiDeltaAttention; ShortConvolution of fla.
using ShortConvFn = void (*)(const ShortConvArgs& a, std::ptrdiff_t c0, std::ptrdiff_t c1) noexcept;

/// What the recurrence needs of one token and head, made by kda_prepare.  All [K] but the two scalars.
/// A record is 4 K + 16 floats: alpha, k, k*alpha, q*alpha, then {q.k, beta}.
struct KdaRecord {
  /// Floats of a record.
  static constexpr std::ptrdiff_t floats(std::ptrdiff_t K) { return 4 * K + 16; }
  static constexpr std::ptrdiff_t kAlpha = 0, kK = 1, kKAlpha = 2, kQAlpha = 3;  // times K
  /// Where the scalars q.k and beta lie.
  static constexpr std::ptrdiff_t qk(std::ptrdiff_t K) { return 4 * K; }
  static constexpr std::ptrdiff_t beta(std::ptrdiff_t K) { return 4 * K + 1; }
};

/// T tokens of one head before the delta rule.
struct KdaPrepareArgs {
  const float *q, *k;  // [T, K] rows stride apart: after convolution and SiLU
  std::ptrdiff_t stride;
  const float* f;  // [T, K] rows f_stride apart: forget-gate logits W_fb W_fa x
  std::ptrdiff_t f_stride;
  const float* b;  // [T] values b_stride apart: write-strength logits of this head
  std::ptrdiff_t b_stride;
  const float* dt_bias;  // [K]
  float A_log;           // of this head
  float l2_eps;
  std::ptrdiff_t K, T;
  float* records;  // [T, KdaRecord::floats(K)]
};

/// Gates and norms of T tokens of one head:
///
///     q <- K^-1/2 q / sqrt(sum q^2 + eps)      k <- k / sqrt(sum k^2 + eps)
///     g = -exp(A_log) softplus(f + dt_bias)    alpha = exp(g)     beta = sigmoid(b)
///
/// Shapes    q, k, f: [T, K]   b: [T]   dt_bias: [K]   records: [T, KdaRecord::floats(K)].
/// Units     g is a natural-log decay, <= 0 and without lower bound; alpha in [0, 1].
/// Numerics  squares and lengths in double; g and alpha in f32.
/// Source    tech report (KDA); modeling_kimi.py KimiDeltaAttention; fla naive_kda_gate.
using KdaPrepareFn = void (*)(const KdaPrepareArgs& a) noexcept;

/// T prepared tokens of one head, and the state they advance.
struct KdaRecurrenceArgs {
  const float* records;  // [T, KdaRecord::floats(K)]
  const float* v;        // [T, V] rows v_stride apart
  std::ptrdiff_t v_stride;
  float* o;  // [T, V] rows o_stride apart
  std::ptrdiff_t o_stride;
  void* S;  // [ceil(V/32), K, 32]: value columns in slices, padding columns are zero; updated
  std::ptrdiff_t K, V, T;
  DType S_type = DType::kF32;  // or kBF16: rounded to nearest even after every token
};

/// The gated delta rule, T tokens of one head, state slices s0 <= s < s1:
///
///     S <- diag(alpha) S            decay each key channel
///     u <- beta (v - S^T k)         what the state got wrong
///     S <- S + k u^T                correct it
///     o <- S^T q                    read
///
/// Shapes    records: [T, KdaRecord::floats(K)]   v, o: [T, V]   S: [ceil(V/32), K, 32].
/// Numerics  state in S_type; f32 FMA in ascending key order, partial sums of 32.  Any split of T gives the same bits.
/// Source    tech report (KDA); fla/ops/kda/naive.py naive_recurrent_kda (S as [K, V]).
using KdaRecurrenceFn = void (*)(const KdaRecurrenceArgs& a, std::ptrdiff_t s0, std::ptrdiff_t s1) noexcept;

/// y = RMSNorm(o; w, eps) * sigmoid(gate): KDA's gated output norm for one token and head.
/// Shapes    o, w, gate, y: [n].
/// Aliasing  y may be o.
/// Numerics  the norm in double, rounded once; gate and product in f32.
/// Source    modeling_kimi.py KimiDeltaAttention; FusedRMSNormGated of fla.
using GatedRmsNormFn = void (*)(const float* o, const float* w, float eps, const float* gate, std::ptrdiff_t n,
                                float* y) noexcept;

/// The router's view of one token.
struct RouteArgs {
  const float* logits;    // [E]
  const float* bias;      // [E] correction bias, steers the choice only
  std::ptrdiff_t E;       // <= kMaxExperts
  std::ptrdiff_t A;       // experts to choose
  std::ptrdiff_t groups;  // E is a multiple
  std::ptrdiff_t topk_groups;
  bool softmax;         // scores are softmax(logits), else sigmoid(logits)
  bool renormalize;     // divide by the sum (if A > 1)
  bool biased_weights;  // weigh with score + bias (the released code's slip)
  float scale;          // routed_scaling_factor
  float* scratch;       // [2 E]
  std::int32_t* ids;    // [A] out, ascending
  float* weights;       // [A] out
};

/// Chooses A experts for one token and weighs them.
///
///     s = sigmoid(logits) or softmax(logits);   I = the A largest of s + bias;   w_e = s_e / sum_I s * scale,  e in I
///
/// Ties go to the lower index.  Only experts of the topk_groups groups with the largest sum of two s + bias qualify.
/// Shapes    logits, bias: [E]   ids, weights: [A].
/// Numerics  scores in f32, their sum in double.  A NaN score is the last choice, but it is one.
/// Source    modeling_kimi.py KimiMoEGate.
using RouteFn = void (*)(const RouteArgs& a) noexcept;

/// What the experts of one token gave.
struct MoeCombineArgs {
  const float* const* rows;  // [A] expert outputs, [n] each, ascending expert id
  const float* weights;      // [A]
  std::ptrdiff_t A;
  const float* shared;  // [n] or nullptr
  std::ptrdiff_t n;
  float* y;  // [n]
};

/// y = sum_a weights[a] rows[a] (+ shared).
/// Shapes    rows: A times [n]   weights: [A]   shared, y: [n].
/// Numerics  double in ascending order of the expert, rounded once.
/// Source    modeling_kimi.py KimiSparseMoeBlock.
using MoeCombineFn = void (*)(const MoeCombineArgs& a) noexcept;

/// Puts one token's latent and shared key part into the cache.   Shapes  row: [R + P]   dst: row_bytes().
using StoreLatentFn = void (*)(const LatentFormat& f, const float* row, std::byte* dst) noexcept;

/// Takes n cached rows back.   Shapes  rows: row_bytes() apart   dst: [n, R + P].
using LoadLatentsFn = void (*)(const LatentFormat& f, const std::byte* rows, std::ptrdiff_t n, float* dst) noexcept;

/// dst[c][lane] = src[lane][c] for the given rows, 0 for lanes >= rows: queries laid out one per vector lane.
/// Shapes    src: `rows` pointers to [n].   dst: [n, kLanes].
using PackLanesFn = void (*)(const float* const* src, std::ptrdiff_t rows, std::ptrdiff_t n, float* dst) noexcept;

/// Running softmax of kLanes rows: O / l is the attention output over all keys seen so far.
struct AttendState {
  float* m;  // [kLanes] largest score so far, -inf at first
  float* l;  // [kLanes] sum of exp(score - m), 0 at first
  float* O;  // [Dv, kLanes] weighted sum of values, 0 at first
};

/// kLanes query rows and one block of keys and values.
struct AttendArgs {
  const float* q;             // [C, kLanes] queries against k
  const float* q_pe;          // [P, kLanes] queries against k_pe
  const std::int64_t* limit;  // [kLanes] keys at positions >= limit are masked; 0 = idle lane
  const float* k;             // [n, C] rows k_stride apart
  std::ptrdiff_t k_stride;
  const float* k_pe;  // [n, P] rows pe_stride apart
  std::ptrdiff_t pe_stride;
  const float* v;  // [n, Dv] rows v_stride apart
  std::ptrdiff_t v_stride;
  std::ptrdiff_t C, P, Dv;
  std::ptrdiff_t n;       // keys in this block, <= kKeyBlock
  std::int64_t position;  // of the first key
  float scale;            // multiplies every score
  AttendState state;      // updated
  float* scores;          // scratch [kKeyBlock, kLanes]
};

/// Adds one block of keys to the running softmax of kLanes query rows:
///
///     s = scale (q.k + q_pe.k_pe), masked to -inf;   m' = max(m, max s);   p = exp(s - m')
///     l <- l exp(m - m') + sum p;   O <- O exp(m - m') + sum p v
///
/// Both forms of MLA use it: absorbed with k = v = latent, expanded with per-head keys and values.
/// Shapes    q: [C, kLanes]   q_pe: [P, kLanes]   k: [n, C]   k_pe: [n, P]   v: [n, Dv].
/// Units     scores are natural logarithms.
/// Numerics  f32; a lane never sees another.  A block that is partly masked gives the bits of the same block cut short.
/// Source    modeling_kimi.py KimiMLAAttention; online softmax of Milakov, Gimelshein 2018.
using AttendFn = void (*)(const AttendArgs& a) noexcept;

/// Pairs of bf16, as `vdpbf16ps` multiplies them: in a word the even element in the low half, the odd one in the high
/// half.  A bf16 row in memory is a row of pairs of neighbouring elements.
///
/// A product of pairs is added to an f32 sum as sum <- sum + odd odd, then sum <- sum + even even, each rounded to nearest
/// even, subnormal numbers taken and given as 0.  That is what the instruction does; FMA does the same on widened numbers
/// (MXCSR asked to flush).  Sums run over pairs in ascending order, in one accumulator.
using Bf16Pair = std::uint32_t;

/// Rows [rows, n] that become pairs of rows.
struct PairRowsArgs {
  const void* x;  // [rows, n] f32 or bf16, rows x_stride elements apart
  DType type;
  std::ptrdiff_t x_stride;
  std::ptrdiff_t rows, n;
  Bf16Pair* dst;  // [ceil(rows / 2), n] rows dst_stride apart
  std::ptrdiff_t dst_stride;
};

/// dst[s][c] = {x[2 s][c], x[2 s + 1][c]}, rounded to nearest even; a missing last row is 0.
using PairRowsFn = void (*)(const PairRowsArgs& a) noexcept;

/// A matrix in bf16 and the rows in bf16 it meets.
struct MatmulBf16Args {
  const Bf16Pair* w;  // [ceil(N / kLanes), ceil(K / 2), kLanes]: outputs in panels of kLanes, pairs along k
  std::ptrdiff_t N, K;
  const Bf16Pair* x;  // [M, ceil(K / 2)] rows x_stride apart: pairs along k
  std::ptrdiff_t x_stride;
  float* y;  // [M, N] rows y_stride apart; whole panels are written
  std::ptrdiff_t y_stride;
  std::ptrdiff_t M;
};

/// y[m][n] = sum_k W[n][k] x[m][k]: MLA expands bf16 latents to keys and values with it.
/// Shapes    w: [N, K] in panels   x: [M, K]   y: [M, N].
/// Numerics  products of Bf16Pair, one sum in ascending k; the same for every M.
using MatmulBf16Fn = void (*)(const MatmulBf16Args& a) noexcept;

/// kLanes query rows and one block of keys and values, all of them bf16.
struct AttendBf16Args {
  const Bf16Pair* q;          // [ceil(C / 2), kLanes] pairs along C; with odd C the last ones end in 0
  const std::int64_t* limit;  // [kLanes] keys at positions >= limit are masked; 0 = idle lane
  const Bf16Pair* k;          // [n, ceil(C / 2)] rows k_stride apart, pairs along C
  std::ptrdiff_t k_stride;
  const Bf16Pair* v;  // [ceil(n / 2), Dv] pairs of keys
  std::ptrdiff_t C, Dv;
  std::ptrdiff_t n;       // keys in this block, <= kKeyBlock
  std::int64_t position;  // of the first key
  float scale;            // multiplies every score
  AttendState state;      // updated
  float* scores;          // scratch [kKeyBlock, kLanes]
  const void* next;       // what the caller needs after this call and may not be in cache yet; only prefetched
  std::ptrdiff_t next_bytes;
  bool has_products = false;  // scores holds q.k, as MatmulBf16Fn gives them for rows k and the panel q; the reference,
                              // which keeps them in f64, computes them all the same
};

/// AttendFn on bf16 numbers: the weights p are rounded to bf16 before they multiply values and are added up.
///
/// Shapes    q: [C, kLanes]   k: [n, C]   v: [n, Dv].
/// Numerics  products of Bf16Pair; softmax and sums in f32.  Otherwise as AttendFn, its promises about bits included.
using AttendBf16Fn = void (*)(const AttendBf16Args& a) noexcept;

/// Folds a partial softmax over later keys into one over earlier keys; the order decides the bits: earlier first.
///
///     m' = max(m, m_part);   l <- l exp(m - m') + l_part exp(m_part - m');   O alike
///
/// Shapes    m, l: [kLanes]   O: [Dv, kLanes].
using AttendMergeFn = void (*)(const AttendState& into, const AttendState& part, std::ptrdiff_t Dv) noexcept;

/// dst[lane][c] = O[c][lane] / l[lane] for lanes < rows: the running softmax as attention output.
/// Shapes    O: [Dv, kLanes]   dst: `rows` pointers to [Dv].
using AttendFinishFn = void (*)(const AttendState& s, std::ptrdiff_t Dv, float* const* dst,
                                std::ptrdiff_t rows) noexcept;

/// A token's mass is its probability relative to the likeliest one's in units of 2^-kMassBits: an integer, so that sums
/// do not depend on their order.  2^18 tokens of the largest mass still sum to less than 2^63.
inline constexpr int kMassBits = 44;

/// masses[i] = floor(2^kMassBits exp((logits[i] - top) / temperature)), what the sampler draws by.
///
/// Shapes    logits, masses: [n].   REQUIRES: no logit above `top`, temperature > 0.  -infinity gives 0.
/// Numerics  the same bits in every table: exp is a series of +, -, * in f64, within a unit in its last place.
using TokenMassesFn = void (*)(const float* logits, std::ptrdiff_t n, float top, float temperature,
                               std::uint64_t* masses) noexcept;

/// The whole hardware contract.  Chosen once (select.h), passed by reference.
struct Kernels {
  const char* isa;               // "reference", "avx2", "avx512", "avx512bf16"
  bool (*supported)() noexcept;  // does this CPU run it?
  WeightRowFn weight_row;
  QuantizeRowFn quantize_row;
  MatmulFn matmul;
  MatmulFn matmul_far_ahead;  // the same, asking for weights earlier: for some CPUs (select.cc); nullptr: no such form
  MatmulTransposedFn matmul_transposed;
  RmsNormFn rms_norm;
  AddFn add;
  SiluMulFn silu_mul;
  ShortConvFn short_conv;
  KdaPrepareFn kda_prepare;
  KdaRecurrenceFn kda_recurrence;
  GatedRmsNormFn gated_rms_norm;
  RouteFn route;
  MoeCombineFn moe_combine;
  StoreLatentFn store_latent;
  LoadLatentsFn load_latents;
  PackLanesFn pack_lanes;
  AttendFn attend;
  PairRowsFn pair_rows;
  MatmulBf16Fn matmul_bf16;
  AttendBf16Fn attend_bf16;
  bool has_bf16_dot;  // the last two use an instruction for pairs rather than FMA
  AttendMergeFn attend_merge;
  AttendFinishFn attend_finish;
  TokenMassesFn token_masses;
};

/// Kernels that do nothing, to time regions alone: not for select_kernels().  route() spreads tokens over experts.
namespace nothing {
extern const Kernels kernels;
}
namespace reference {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
extern const Kernels kernels_bf16;  // "avx512bf16": products of bf16 pairs by vdpbf16ps, the same bits
}  // namespace avx512

}  // namespace kl
