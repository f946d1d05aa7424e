#include "layers/sparse_moe.h"

#include <algorithm>

#include "layers/mlp.h"

namespace kl {
namespace {

/// Most parts of the shared expert.  It meets all tokens, as much work as dozens of the others.  With many threads its
/// tokens are cut into parts, tasks beside the others', and they come first: last, they would keep a few threads at
/// work while the rest waits.
constexpr std::ptrdiff_t kSharedParts = 32;

/// Parts of the shared expert for T tokens.
std::ptrdiff_t shared_parts(std::ptrdiff_t T, int threads) {
  constexpr std::ptrdiff_t kLeastTokens = 64;  // for which a part's weights are worth reading
  return std::clamp<std::ptrdiff_t>(std::min<std::ptrdiff_t>(T / kLeastTokens, threads / 2), 1, kSharedParts);
}

/// Scratch of one forward().  "Slot" t * A + a stands for the a-th expert of token t, its "row" for where sorting by
/// expert puts it.
struct Buffers {
  std::int32_t* ids;              // [T, A]
  float* route_weights;           // [T, A]
  float* logits;                  // [T, E]
  float* scratch;                 // [T, 2 E]
  std::int32_t* first_row;        // [E + 1] rows of expert e are first_row[e] .. first_row[e + 1]
  std::int32_t* active;           // [kSharedParts + E] E + i for part i of the shared expert; then experts with rows
  std::int32_t* slot_row;         // [T * A] row of each slot
  std::byte* sorted_x;            // [T * A, D] input of each row, in f32 or quantised
  std::byte* x_q;                 // x, quantised
  std::byte* hidden;              // [T * A, F] silu(gate) * up of each row, in f32 or quantised
  std::byte* shared_hidden;       // [T, F_shared]
  float* out;                     // [T * A, D]
  float* shared_out;              // [T, D]
  ArenaArray<GateAndUp> workers;  // [workers]

  /// For T tokens.
  Buffers(const MoeWeights& w, const ModelArgs& args, Arena& arena, std::ptrdiff_t T, int num_workers) {
    const std::ptrdiff_t A = args.num_experts_per_token, E = args.num_experts, D = args.hidden_size;
    const std::ptrdiff_t F = args.moe_intermediate_size, shared_F = w.shared ? w.shared->gate_proj.N : 0;
    ids = arena.take<std::int32_t>(T * A);
    route_weights = arena.take<float>(T * A);
    logits = arena.take<float>(T * E);
    scratch = arena.take<float>(T * 2 * E);
    first_row = arena.take<std::int32_t>(E + 1);
    active = arena.take<std::int32_t>(kSharedParts + E);
    slot_row = arena.take<std::int32_t>(T * A);
    sorted_x = arena.take<std::byte>(row_bytes(T * A, D));
    x_q = arena.take<std::byte>(quantized_bytes(T, D));
    hidden = arena.take<std::byte>(row_bytes(T * A, F));
    shared_hidden = arena.take<std::byte>(row_bytes(T, shared_F));
    out = arena.take<float>(T * A * D);
    shared_out = arena.take<float>(w.shared ? T * D : 0);
    workers = ArenaArray<GateAndUp>(arena, num_workers, T);
  }
};

/// Step 1: scores, choice and weights for every token.
void choose_experts(const MoeWeights& w, const ModelArgs& args, const LayerContext& c, const float* x, std::ptrdiff_t T,
                    const Buffers& b) noexcept {
  const std::ptrdiff_t A = args.num_experts_per_token, E = args.num_experts;
  matmul_together(c, {product(w.router, {x}, b.logits, T)});  // in f32 whatever the weights: choices hang on it
  for_each_token(c, T, [&](std::ptrdiff_t t) {
    c.kernels.route({.logits = b.logits + t * E,
                     .bias = w.correction_bias,
                     .E = E,
                     .A = A,
                     .groups = args.num_expert_group,
                     .topk_groups = args.topk_group,
                     .softmax = args.router_activation == RouterActivation::kSoftmax,
                     .renormalize = args.moe_renormalize,
                     .biased_weights = c.settings.router_weights == RouterWeights::kHf,
                     .scale = args.routed_scaling_factor,
                     .scratch = b.scratch + t * 2 * E,
                     .ids = b.ids + t * A,
                     .weights = b.route_weights + t * A});
  });
}

/// Step 2: counting sort of the T * A slots by expert; within an expert rows keep token order.
/// Returns the number of experts that have work, each of the num_shared parts of the shared one included.
std::ptrdiff_t sort_by_expert(const MoeWeights& w, const ModelArgs& args, std::ptrdiff_t T, std::ptrdiff_t num_shared,
                              const Buffers& b) noexcept {
  const std::ptrdiff_t A = args.num_experts_per_token, E = args.num_experts;
  std::fill_n(b.first_row, E + 1, 0);
  for (std::ptrdiff_t slot = 0; slot < T * A; ++slot) ++b.first_row[b.ids[slot] + 1];
  for (std::ptrdiff_t e = 0; e < E; ++e) b.first_row[e + 1] += b.first_row[e];
  for (std::ptrdiff_t slot = 0; slot < T * A; ++slot) b.slot_row[slot] = b.first_row[b.ids[slot]]++;
  for (std::ptrdiff_t e = E; e > 0; --e) b.first_row[e] = b.first_row[e - 1];  // undo the increments of the line above
  b.first_row[0] = 0;

  std::ptrdiff_t num_active = 0;
  for (std::ptrdiff_t i = 0; w.shared && i < num_shared; ++i) b.active[num_active++] = static_cast<std::int32_t>(E + i);
  for (std::ptrdiff_t e = 0; e < E; ++e)
    if (b.first_row[e + 1] > b.first_row[e]) b.active[num_active++] = static_cast<std::int32_t>(e);
  return num_active;
}

/// One expert's share of a step: rows of the sorted tensors, or a part of all tokens for the shared expert.
struct ExpertRows {
  const MlpWeights* w = nullptr;
  std::ptrdiff_t count = 0;
  Rows x;                // [count, D]
  RowsToWrite hidden;    // [count, F]
  float* out = nullptr;  // [count, D]
};

/// The experts of one pass, and what they read and write.
struct Experts {
  const MoeWeights& w;
  const ModelArgs& args;
  const Buffers& b;
  std::ptrdiff_t T, num_shared;
  Rows shared_x;              // [T, D]
  RowsToWrite x;              // [T * A, D]
  RowsToWrite shared_hidden;  // [T, F_shared]
  RowsToWrite hidden;         // [T * A, F]

  /// `in` are all tokens.  The chosen experts quantise if all of them can; the shared one decides for itself.
  Experts(const MoeWeights& weights, const ModelArgs& a, const LayerContext& c, const Rows& in, std::ptrdiff_t tokens,
          std::ptrdiff_t parts, const Buffers& buffers)
      : w(weights),
        args(a),
        b(buffers),
        T(tokens),
        num_shared(parts),
        shared_x(in),
        x(rows_in(b.sorted_x, w.experts_are_packed && in.q != nullptr)),
        shared_hidden(rows_in(b.shared_hidden, w.shared && c.quantizes(w.shared->down_proj))),
        hidden(rows_in(b.hidden, x.q != nullptr)) {}

  /// Tokens [T i / num_shared, T j / num_shared) of the shared expert.
  ExpertRows shared_rows(std::ptrdiff_t i, std::ptrdiff_t j) const noexcept {
    const std::ptrdiff_t first = T * i / num_shared, D = args.hidden_size;
    return {&*w.shared, T * j / num_shared - first, shared_x.from(first, D),
            shared_hidden.from(first, w.shared->gate_proj.N), b.shared_out + first * D};
  }

  /// Expert e of 0 .. E - 1, or part e - E of the shared one.
  ExpertRows rows_of(std::int32_t e) const noexcept {
    if (e >= args.num_experts) return shared_rows(e - args.num_experts, e - args.num_experts + 1);
    const std::ptrdiff_t first = b.first_row[e], D = args.hidden_size, F = args.moe_intermediate_size;
    return {&w.experts[static_cast<std::size_t>(e)], b.first_row[e + 1] - first, x.from(first, D).read(),
            hidden.from(first, F), b.out + first * D};
  }

  /// Copies the row of every token to the experts it goes through.
  void scatter(const LayerContext& c) const noexcept;

  /// Steps 3 and 4: all chosen experts (and the shared one) in two parallel regions, whatever their number of rows.
  void run(const LayerContext& c, std::ptrdiff_t num_active) const noexcept;
};

void Experts::scatter(const LayerContext& c) const noexcept {
  const std::ptrdiff_t A = args.num_experts_per_token, D = args.hidden_size;
  for_each_token(c, T, [&](std::ptrdiff_t t) {
    const Rows from = shared_x.from(t, D);
    for (std::ptrdiff_t a = 0; a < A; ++a) {
      const RowsToWrite to = x.from(b.slot_row[t * A + a], D);
      if (to.q) {
        std::copy_n(from.q, ActivationRow::bytes(D), to.q);
      } else {
        std::copy_n(from.x, D, to.x);
      }
    }
  });
}

void Experts::run(const LayerContext& c, std::ptrdiff_t num_active) const noexcept {
  const std::ptrdiff_t D = args.hidden_size, shared_F = w.shared ? w.shared->gate_proj.N : 0;
  const std::ptrdiff_t widest = std::max<std::ptrdiff_t>(args.moe_intermediate_size, shared_F);
  const std::ptrdiff_t up_step = outputs_per_task(num_active * widest, T, c.pool.size());
  const std::ptrdiff_t down_step = outputs_per_task(num_active * D, T, c.pool.size());
  const std::ptrdiff_t up_tasks = ceil_div(widest, up_step), down_tasks = ceil_div(D, down_step);
  const auto expert = [&](std::ptrdiff_t i) { return rows_of(b.active[i]); };
  const auto down = [](const ExpertRows& r) { return product(r.w->down_proj, r.hidden.read(), r.out, r.count); };
  const auto for_each_whole_expert = [&](auto f) {
    if (c.profiler == nullptr && c.products == nullptr) return;
    if (w.shared) f(shared_rows(0, num_shared));
    for (std::ptrdiff_t i = w.shared ? num_shared : 0; i < num_active; ++i) f(expert(i));
  };

  for_each_whole_expert([&](const ExpertRows& r) {
    announce(c, {product(r.w->gate_proj, r.x, nullptr, r.count), product(r.w->up_proj, r.x, nullptr, r.count)});
  });
  c.pool.parallel_for(num_active * up_tasks, [&](std::ptrdiff_t task, int worker) {
    const ExpertRows r = expert(task / up_tasks);
    const std::ptrdiff_t F = r.w->gate_proj.N, f0 = task % up_tasks * up_step;
    if (f0 >= F) return;  // the shared expert may be wider than the others
    KimiMLP::hidden(*r.w, c.kernels, r.x, r.count, f0, std::min(F, f0 + up_step), b.workers[worker], r.hidden);
  });
  for_each_whole_expert([&](const ExpertRows& r) { announce(c, {down(r)}); });
  c.pool.parallel_for(num_active * down_tasks, [&](std::ptrdiff_t task, int) {
    const std::ptrdiff_t d0 = task % down_tasks * down_step, d1 = std::min(D, d0 + down_step);
    c.kernels.matmul(down(expert(task / down_tasks)), d0, d1);
  });
}

}  // namespace

void KimiSparseMoE::plan(const MoeWeights& w, const ModelArgs& args, Arena& arena, std::ptrdiff_t T, int workers) {
  const ArenaScope scope(arena);
  Buffers(w, args, arena, T, workers);
}

Routing KimiSparseMoE::forward(const MoeWeights& w, const ModelArgs& args, const LayerContext& c, const float* x,
                               std::ptrdiff_t T, float* y) noexcept {
  const Buffers b(w, args, c.arena, T, c.pool.size());
  PartScope part(c.profiler, ModelPart::kRouter);
  choose_experts(w, args, c, x, T, b);
  part.next(ModelPart::kExperts);
  const WeightMatrix& chosen = w.experts.front().gate_proj;
  const Rows in = rows_for(c, {&chosen, w.shared ? &w.shared->gate_proj : &chosen}, x, T, args.hidden_size, b.x_q);
  const std::ptrdiff_t num_shared = shared_parts(T, c.pool.size());
  const std::ptrdiff_t num_active = sort_by_expert(w, args, T, num_shared, b);
  const Experts experts(w, args, c, in, T, num_shared, b);
  experts.scatter(c);
  experts.run(c, num_active);

  // Step 5: every token gathers its experts' outputs, in ascending expert order.
  const std::ptrdiff_t A = args.num_experts_per_token, D = args.hidden_size;
  for_each_token(c, T, [&](std::ptrdiff_t t) {
    const float* rows[kMaxExperts];
    for (std::ptrdiff_t a = 0; a < A; ++a) rows[a] = b.out + b.slot_row[t * A + a] * D;
    c.kernels.moe_combine({.rows = rows,
                           .weights = b.route_weights + t * A,
                           .A = A,
                           .shared = w.shared ? b.shared_out + t * D : nullptr,
                           .n = D,
                           .y = y + t * D});
  });
  return {b.ids, b.route_weights};
}

}  // namespace kl
