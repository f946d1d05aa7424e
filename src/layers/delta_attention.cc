#include "layers/delta_attention.h"

#include "layers/gated_delta.h"
#include "layers/short_conv.h"

namespace kl {
namespace {

/// Scratch of one forward(), in the order of its use; forward() and plan() take the same.
struct Buffers {
  std::ptrdiff_t stride;             // between rows of q, k, v, f and g: H*K and a cache line, lest a head's rows,
                                     // which are read together, all fall on the same few lines of the L1 cache
  float *q, *k, *v;                  // [T, H*K] projections, before convolution
  float *f_a, *g_a;                  // [T, K] low-rank halves of the two gates
  float *f, *g;                      // [T, H*K] forget-gate logits, output-gate logits
  float* b;                          // [T, H] write-strength logits
  float* o;                          // [T, H*V] what the heads read, normed and gated
  float *x_q, *f_a_q, *g_a_q, *o_q;  // x, f_a, g_a and o quantised
  float* heads;                      // [workers, HeadScratch]

  Buffers(const ModelArgs& args, Arena& arena, std::ptrdiff_t T, int workers);
};

/// What a thread needs for one head and a block of its tokens: small enough to stay in the L2 cache.
struct HeadScratch {
  float *q, *k, *v;  // [kGatedDeltaBlock, K] after convolution and SiLU
  float* o;          // [kGatedDeltaBlock, V]
  float* records;    // gated_delta_scratch(K)

  HeadScratch(float* p, std::ptrdiff_t K)
      : q(p),
        k(q + kGatedDeltaBlock * K),
        v(k + kGatedDeltaBlock * K),
        o(v + kGatedDeltaBlock * K),
        records(o + kGatedDeltaBlock * K) {}
  static std::ptrdiff_t floats(std::ptrdiff_t K) { return 4 * kGatedDeltaBlock * K + gated_delta_scratch(K); }
};

Buffers::Buffers(const ModelArgs& args, Arena& arena, std::ptrdiff_t T, int workers) {
  const std::ptrdiff_t H = args.kda_num_heads, K = args.kda_head_dim;
  stride = H * K + 16;
  for (float** p : {&q, &k, &v, &f, &g}) *p = arena.take(T * stride);
  f_a = arena.take(T * K);
  g_a = arena.take(T * K);
  b = arena.take(T * H);
  o = arena.take(T * H * K);
  x_q = arena.take(quantized_floats(T, args.hidden_size));
  f_a_q = arena.take(quantized_floats(T, K));
  g_a_q = arena.take(quantized_floats(T, K));
  o_q = arena.take(quantized_floats(T, H * K));
  heads = arena.take(workers * HeadScratch::floats(K));
}

/// Head h over rows [row, row + count): convolve its channels, run the delta rule, norm and gate what was read, block
/// after block, so that nothing but the projections and the result passes through memory.
void run_head(const KdaWeights& w, const ModelArgs& args, const Kernels& kernels, KdaCache& cache, const Buffers& b,
              std::ptrdiff_t row, std::ptrdiff_t count, std::ptrdiff_t h, const HeadScratch& s) noexcept {
  const std::ptrdiff_t H = args.kda_num_heads, K = args.kda_head_dim, C = H * K, W = args.kda_conv_size, c0 = h * K;
  for (std::ptrdiff_t end = row + count; row < end; row += kGatedDeltaBlock) {
    const std::ptrdiff_t n = std::min(kGatedDeltaBlock, end - row), at = row * b.stride + c0;
    ShortConv1d::forward(kernels, w.q_conv + c0, W, C, cache.conv_of(0) + c0, b.q + at, b.stride, s.q, n, K);
    ShortConv1d::forward(kernels, w.k_conv + c0, W, C, cache.conv_of(1) + c0, b.k + at, b.stride, s.k, n, K);
    ShortConv1d::forward(kernels, w.v_conv + c0, W, C, cache.conv_of(2) + c0, b.v + at, b.stride, s.v, n, K);
    gated_delta_update(kernels,
                       {.q = s.q,
                        .k = s.k,
                        .v = s.v,
                        .f = b.f + at,
                        .f_stride = b.stride,
                        .b = b.b + row * H + h,
                        .b_stride = H,
                        .A_log = w.A_log[h],
                        .dt_bias = w.dt_bias + c0,
                        .l2_eps = args.l2_norm_eps,
                        .K = K,
                        .V = K,
                        .T = n,
                        .S = cache.S_of(h),
                        .S_type = cache.S_type,
                        .o = s.o},
                       s.records);
    for (std::ptrdiff_t t = 0; t < n; ++t) {
      kernels.gated_rms_norm(s.o + t * K, w.o_norm, args.rms_norm_eps, b.g + at + t * b.stride, K,
                             b.o + (row + t) * C + c0);
    }
  }
}

/// What the heads must do: states in and out; convolutions, and seven operations per state element and token.
void count_core(Profiler& profiler, const KdaCache& cache, std::ptrdiff_t num_sequences, std::ptrdiff_t T) {
  const auto floats = static_cast<double>(cache.S.size() + cache.conv.size());
  const auto channels = static_cast<double>(cache.num_heads * cache.K);
  profiler.count_bytes(2 * sizeof(float) * floats * static_cast<double>(num_sequences));
  profiler.count_ops(Arithmetic::kFma,
                     static_cast<double>(T) * channels * static_cast<double>(7 * cache.V + 6 * cache.W));
}

}  // namespace

KdaCache::KdaCache(const ModelArgs& args, DType type)
    : num_heads(args.kda_num_heads),
      K(args.kda_head_dim),
      V(args.kda_head_dim),
      W(args.kda_conv_size),
      S_type(type),
      S(static_cast<std::size_t>(num_heads * head_bytes()) / sizeof(float)),
      conv(static_cast<std::size_t>(3 * (W - 1) * num_heads * K)) {}

std::vector<float> KdaCache::S_hkv() const {
  std::vector<float> out;
  out.reserve(static_cast<std::size_t>(num_heads * K * V));
  const std::ptrdiff_t head = kda_state_elements(K, V);
  std::vector<float> all(static_cast<std::size_t>(num_heads * head));
  reference::kernels.weight_row({S.data(), S_type, 1, num_heads * head, num_heads * head}, 0, all.data());
  for (std::ptrdiff_t h = 0; h < num_heads; ++h)
    for (std::ptrdiff_t k = 0; k < K; ++k)
      for (std::ptrdiff_t v = 0; v < V; ++v)
        out.push_back(all[static_cast<std::size_t>(h * head + (v / kKdaSlice * K + k) * kKdaSlice + v % kKdaSlice)]);
  return out;
}

void KimiDeltaAttention::plan(const ModelArgs& args, Arena& arena, std::ptrdiff_t T, int workers) {
  const ArenaScope scope(arena);
  Buffers(args, arena, T, workers);
}

void KimiDeltaAttention::forward(const KdaWeights& w, const ModelArgs& args, const LayerContext& c,
                                 std::span<const Segment> segments, std::span<KdaCache* const> caches, const float* x,
                                 std::ptrdiff_t T, float* y) noexcept {
  const ArenaScope scope(c.arena);
  const Buffers b(args, c.arena, T, c.pool.size());
  const std::ptrdiff_t H = args.kda_num_heads, K = args.kda_head_dim;

  PartScope part(c.profiler, ModelPart::kProjections);
  // 1. Everything that reads x.
  const auto padded = [&](const WeightMatrix& m, const Rows& x_rows, float* to) {
    MatmulArgs p = product(m, x_rows, to, T);
    p.y_stride = b.stride;
    return p;
  };
  const Rows in = rows_for(c, {&w.q_proj, &w.k_proj, &w.v_proj, &w.f_a_proj, &w.g_a_proj, &w.b_proj}, x, T,
                           args.hidden_size, b.x_q);
  matmul_together(
      c, {padded(w.q_proj, in, b.q), padded(w.k_proj, in, b.k), padded(w.v_proj, in, b.v),
          product(w.f_a_proj, in, b.f_a, T), product(w.g_a_proj, in, b.g_a, T), product(w.b_proj, in, b.b, T)});
  // 2. The second halves of the low-rank gates.
  const Rows f_a = rows_for(c, {&w.f_b_proj}, b.f_a, T, K, b.f_a_q),
             g_a = rows_for(c, {&w.g_b_proj}, b.g_a, T, K, b.g_a_q);
  matmul_together(c, {padded(w.f_b_proj, f_a, b.f), padded(w.g_b_proj, g_a, b.g)});

  // 3. Each head of each sequence on its own.  Heads share nothing, so this is where the work is split; tokens depend on
  //    each other and are not.
  part.next(ModelPart::kKda);
  const std::ptrdiff_t num_tasks = std::ssize(segments) * H;
  if (c.profiler != nullptr) count_core(*c.profiler, *caches.front(), std::ssize(segments), T);
  c.pool.parallel_for(num_tasks, [&](std::ptrdiff_t task, int worker) {
    const std::size_t s = static_cast<std::size_t>(task / H);
    run_head(w, args, c.kernels, *caches[s], b, segments[s].first, segments[s].count, task % H,
             HeadScratch(b.heads + worker * HeadScratch::floats(K), K));
  });
  // 4. Heads together again.
  part.next(ModelPart::kProjections);
  matmul_together(c, {product(w.o_proj, rows_for(c, {&w.o_proj}, b.o, T, H * K, b.o_q), y, T)});
}

}  // namespace kl
