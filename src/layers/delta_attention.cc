#include "layers/delta_attention.h"

#include "layers/gated_delta.h"
#include "layers/short_conv.h"

namespace kl {
namespace {

/// Scratch of one forward(), in the order of its use; forward() and plan() take the same.
struct Buffers {
  float *q_raw, *k_raw, *v_raw;      // [T, H*K] projections, before convolution
  float *q, *k, *v;                  // [T, H*K] after convolution and SiLU
  float *f_a, *g_a;                  // [T, K] low-rank halves of the two gates
  float *f, *g;                      // [T, H*K] forget-gate logits, output-gate logits
  float* b;                          // [T, H] write-strength logits
  float* o;                          // [T, H*V] what the heads read, normed and gated
  float *x_q, *f_a_q, *g_a_q, *o_q;  // x, f_a, g_a and o quantised
  float* records;                    // [workers, kGatedDeltaBlock, record]

  Buffers(const ModelArgs& args, Arena& arena, std::ptrdiff_t T, int workers) {
    const std::ptrdiff_t H = args.kda_num_heads, K = args.kda_head_dim;
    for (float** p : {&q_raw, &k_raw, &v_raw, &q, &k, &v, &f, &g, &o}) *p = arena.take(T * H * K);
    f_a = arena.take(T * K);
    g_a = arena.take(T * K);
    b = arena.take(T * H);
    x_q = arena.take(quantized_floats(T, args.hidden_size));
    f_a_q = arena.take(quantized_floats(T, K));
    g_a_q = arena.take(quantized_floats(T, K));
    o_q = arena.take(quantized_floats(T, H * K));
    records = arena.take(workers * gated_delta_scratch(K));
  }
};

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
  const std::ptrdiff_t H = args.kda_num_heads, K = args.kda_head_dim, C = H * K, W = args.kda_conv_size;

  PartScope part(c.profiler, ModelPart::kProjections);
  // 1. Everything that reads x.
  const Rows in = rows_for(c, {&w.q_proj, &w.k_proj, &w.v_proj, &w.f_a_proj, &w.g_a_proj, &w.b_proj}, x, T,
                           args.hidden_size, b.x_q);
  matmul_together(
      c, {product(w.q_proj, in, b.q_raw, T), product(w.k_proj, in, b.k_raw, T), product(w.v_proj, in, b.v_raw, T),
          product(w.f_a_proj, in, b.f_a, T), product(w.g_a_proj, in, b.g_a, T), product(w.b_proj, in, b.b, T)});
  // 2. The second halves of the low-rank gates.
  const Rows f_a = rows_for(c, {&w.f_b_proj}, b.f_a, T, K, b.f_a_q),
             g_a = rows_for(c, {&w.g_b_proj}, b.g_a, T, K, b.g_a_q);
  matmul_together(c, {product(w.f_b_proj, f_a, b.f, T), product(w.g_b_proj, g_a, b.g, T)});

  // 3. Each head of each sequence on its own: convolve its channels, run the delta rule over its tokens, norm and gate
  //    what it read.  Heads share nothing, so this is where the work is split; tokens depend on each other and are not.
  part.next(ModelPart::kKda);
  const std::ptrdiff_t num_sequences = std::ssize(segments), num_tasks = num_sequences * H;
  if (c.profiler != nullptr) count_core(*c.profiler, *caches.front(), num_sequences, T);
  c.pool.parallel_for(num_tasks, [&](std::ptrdiff_t task, int worker) {
    const std::size_t s = static_cast<std::size_t>(task / H);
    const std::ptrdiff_t h = task % H, row = segments[s].first, count = segments[s].count;
    const std::ptrdiff_t at = row * C, c0 = h * K, c1 = c0 + K;
    KdaCache& cache = *caches[s];
    ShortConv1d::forward(c.kernels, w.q_conv, W, C, cache.conv_of(0), b.q_raw + at, b.q + at, count, c0, c1);
    ShortConv1d::forward(c.kernels, w.k_conv, W, C, cache.conv_of(1), b.k_raw + at, b.k + at, count, c0, c1);
    ShortConv1d::forward(c.kernels, w.v_conv, W, C, cache.conv_of(2), b.v_raw + at, b.v + at, count, c0, c1);
    gated_delta_update(c.kernels,
                       {.q = b.q + at + c0,
                        .k = b.k + at + c0,
                        .v = b.v + at + c0,
                        .f = b.f + at + c0,
                        .stride = C,
                        .b = b.b + row * H + h,
                        .b_stride = H,
                        .A_log = w.A_log[h],
                        .dt_bias = w.dt_bias + c0,
                        .l2_eps = args.l2_norm_eps,
                        .K = K,
                        .V = K,
                        .T = count,
                        .S = cache.S_of(h),
                        .S_type = cache.S_type,
                        .o = b.o + at + c0},
                       b.records + worker * gated_delta_scratch(K));
    for (std::ptrdiff_t t = 0; t < count; ++t) {
      float* o = b.o + at + t * C + c0;
      c.kernels.gated_rms_norm(o, w.o_norm, args.rms_norm_eps, b.g + at + t * C + c0, K, o);
    }
  });
  // 4. Heads together again.
  part.next(ModelPart::kProjections);
  matmul_together(c, {product(w.o_proj, rows_for(c, {&w.o_proj}, b.o, T, C, b.o_q), y, T)});
}

}  // namespace kl
