#include "layers/delta_attention.h"

#include "layers/gated_delta.h"
#include "layers/short_conv.h"

namespace kl {
namespace {

/// What a thread needs for one head and a block of its tokens: small enough to stay in the L2 cache.
struct HeadScratch {
  float *q, *k, *v;  // [kGatedDeltaBlock, K] after convolution and SiLU
  float* o;          // [kGatedDeltaBlock, V]
  float* records;    // gated_delta_scratch(K)
  float* memory;     // a copy of the head's memory, for tentative tokens

  /// For any head of the layer.
  HeadScratch(Arena& arena, const ModelArgs& args) {
    const std::ptrdiff_t K = args.kda_head_dim;
    for (float** p : {&q, &k, &v, &o}) *p = arena.take<float>(kGatedDeltaBlock * K);
    records = arena.take<float>(gated_delta_scratch(K));
    memory = arena.take<float>(KdaCache::head_copy_floats(K, K, args.kda_conv_size));
  }
};

/// Scratch of one forward(), in the order of its use; forward() and plan() take the same.
struct Buffers {
  std::ptrdiff_t stride;                 // between rows of q, k, v, f and g: H*K and a cache line, lest a head's rows,
                                         // which are read together, all fall on the same few lines of the L1 cache
  float *q, *k, *v;                      // [T, H*K] projections, before convolution
  float *f_a, *g_a;                      // [T, K] low-rank halves of the two gates
  float *f, *g;                          // [T, H*K] forget-gate logits, output-gate logits
  float* b;                              // [T, H] write-strength logits
  float* o;                              // [T, H*V] what the heads read, normed and gated
  std::byte *x_q, *f_a_q, *g_a_q, *o_q;  // x, f_a, g_a and o quantised
  ArenaArray<HeadScratch> heads;         // [workers]

  /// For T tokens.
  Buffers(const ModelArgs& args, Arena& arena, std::ptrdiff_t T, int workers) {
    const std::ptrdiff_t H = args.kda_num_heads, K = args.kda_head_dim;
    stride = H * K + 16;
    for (float** p : {&q, &k, &v, &f, &g}) *p = arena.take<float>(T * stride);
    f_a = arena.take<float>(T * K);
    g_a = arena.take<float>(T * K);
    b = arena.take<float>(T * H);
    o = arena.take<float>(T * H * K);
    x_q = arena.take<std::byte>(quantized_bytes(T, args.hidden_size));
    f_a_q = arena.take<std::byte>(quantized_bytes(T, K));
    g_a_q = arena.take<std::byte>(quantized_bytes(T, K));
    o_q = arena.take<std::byte>(quantized_bytes(T, H * K));
    heads = ArenaArray<HeadScratch>(arena, workers, args);
  }

  /// What head h of H reads, from row `row` on.
  KdaHeadInputs inputs(std::ptrdiff_t h, std::ptrdiff_t row, std::ptrdiff_t H, std::ptrdiff_t K) const {
    const std::ptrdiff_t at = row * stride + h * K;
    return {q + at, k + at, v + at, f + at, stride, b + row * H + h, H};
  }
};

/// What the heads of a layer share.
struct Heads {
  const KdaWeights& w;
  const ModelArgs& args;
  const Kernels& kernels;

  /// Head h reads T tokens into `memory`: convolve its channels, run the delta rule, block after block, so that nothing
  /// but the inputs and results passes through memory.  Calls use(t, n, o) with what tokens [t, t + n) read, o [n, V].
  template <class F>
  void read(std::ptrdiff_t h, const KdaHeadInputs& inputs, std::ptrdiff_t T, const KdaHeadMemory& memory,
            const HeadScratch& s, F&& use) const noexcept;

  /// Head h of one sequence over the rows of its segment.
  void run(std::ptrdiff_t h, const Segment& segment, KdaCache& cache, const Buffers& b,
           const HeadScratch& s) const noexcept;

  /// Head h reads the held tokens into `memory`; what they give is known already.
  void replay(std::ptrdiff_t h, KdaCache& cache, const KdaHeadMemory& memory, const HeadScratch& s) const noexcept {
    read(h, cache.held.rows(h, 0), cache.held.count, memory, s, [](std::ptrdiff_t, std::ptrdiff_t, const float*) {});
  }
};

template <class F>
void Heads::read(std::ptrdiff_t h, const KdaHeadInputs& inputs, std::ptrdiff_t T, const KdaHeadMemory& memory,
                 const HeadScratch& s, F&& use) const noexcept {
  const std::ptrdiff_t K = args.kda_head_dim, C = args.kda_num_heads * K, W = args.kda_conv_size, c0 = h * K;
  for (std::ptrdiff_t t = 0; t < T; t += kGatedDeltaBlock) {
    const std::ptrdiff_t n = std::min(kGatedDeltaBlock, T - t);
    const KdaHeadInputs in = inputs.from(t);
    const auto convolve = [&](const float* taps, float* state, const float* x, float* y) {
      ShortConv1d::forward(kernels, taps + c0, W, C, state, memory.conv_stride, x, in.stride, y, n, K);
    };
    convolve(w.q_conv, memory.conv[0], in.q, s.q);
    convolve(w.k_conv, memory.conv[1], in.k, s.k);
    convolve(w.v_conv, memory.conv[2], in.v, s.v);
    gated_delta_update(kernels,
                       {.q = s.q,
                        .k = s.k,
                        .v = s.v,
                        .f = in.f,
                        .f_stride = in.stride,
                        .b = in.b,
                        .b_stride = in.b_stride,
                        .A_log = w.A_log[h],
                        .dt_bias = w.dt_bias + c0,
                        .l2_eps = args.l2_norm_eps,
                        .K = K,
                        .V = K,
                        .T = n,
                        .S = memory.S,
                        .S_type = memory.S_type,
                        .o = s.o},
                       s.records);
    use(t, n, s.o);
  }
}

void Heads::run(std::ptrdiff_t h, const Segment& segment, KdaCache& cache, const Buffers& b,
                const HeadScratch& s) const noexcept {
  const std::ptrdiff_t H = args.kda_num_heads, K = args.kda_head_dim, c0 = h * K;
  const auto read_rows = [&](std::ptrdiff_t row, std::ptrdiff_t count, const KdaHeadMemory& memory) {
    read(h, b.inputs(h, row, H, K), count, memory, s, [&](std::ptrdiff_t t, std::ptrdiff_t n, const float* o) {
      for (std::ptrdiff_t i = 0; i < n; ++i) {
        const std::ptrdiff_t r = row + t + i;
        kernels.gated_rms_norm(o + i * K, w.o_norm, args.rms_norm_eps, b.g + r * b.stride + c0, K,
                               b.o + r * H * K + c0);
      }
    });
  };
  // 1. What the pass before left behind: held tokens that were kept since are true, and come before everything else.
  const std::ptrdiff_t firm = segment.count - segment.tentative, first_tentative = segment.first + firm;
  const KdaHeadMemory memory = cache.memory_of(h);
  if (cache.held.kept) replay(h, cache, memory, s);

  // 2. The rows that nobody will take back.
  read_rows(segment.first, firm, memory);
  if (segment.tentative == 0) return;

  // 3. The tentative rows at the segment's end read from a copy of the memory, which forgets them with the task.  Those
  //    that earlier passes of the call have held are on trial as well: the copy has to see them first.
  const KdaHeadMemory trial = cache.copy_of(memory, s.memory);
  if (!cache.held.kept) replay(h, cache, trial, s);
  read_rows(first_tentative, segment.tentative, trial);

  // 4. Their inputs are held behind those, or in place of those that step 1 has written for good, until keep() says how
  //    many are true.
  const KdaHeadInputs from = b.inputs(h, first_tentative, H, K),
                      to = cache.held.rows(h, cache.held.kept ? 0 : cache.held.count);
  for (std::ptrdiff_t t = 0; t < segment.tentative; ++t) {
    const KdaHeadInputs source = from.from(t), target = to.from(t);
    std::copy_n(source.q, K, target.q);
    std::copy_n(source.k, K, target.k);
    std::copy_n(source.v, K, target.v);
    std::copy_n(source.f, K, target.f);
    *target.b = *source.b;
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
  const Heads heads{w, args, c.kernels};
  c.pool.parallel_for(num_tasks, [&](std::ptrdiff_t task, int worker) {
    const std::size_t s = static_cast<std::size_t>(task / H);
    heads.run(task % H, segments[s], *caches[s], b, b.heads[worker]);
  });
  for (std::size_t s = 0; s < segments.size(); ++s) {
    KdaHeldTokens& held = caches[s]->held;
    held.count = (held.kept ? 0 : held.count) + segments[s].tentative;
    held.kept = false;
  }
  // 4. Heads together again.
  part.next(ModelPart::kProjections);
  matmul_together(c, {product(w.o_proj, rows_for(c, {&w.o_proj}, b.o, T, H * K, b.o_q), y, T)});
}

void KimiDeltaAttention::settle(const KdaWeights& w, const ModelArgs& args, const LayerContext& c,
                                KdaCache& cache) noexcept {
  if (!cache.held.kept) return;
  const ArenaScope scope(c.arena);
  const ArenaArray<HeadScratch> scratch(c.arena, c.pool.size(), args);
  const Heads heads{w, args, c.kernels};
  c.pool.parallel_for(args.kda_num_heads, [&](std::ptrdiff_t h, int worker) {
    heads.replay(h, cache, cache.memory_of(h), scratch[worker]);
  });
  cache.keep(0);
}

}  // namespace kl
