#include "layers/sparse_moe.h"

#include <cstring>

namespace kl {
namespace {

/// Scratch of one forward().  "Slot" t * A + a stands for the a-th expert of token t, its "row" for where sorting by
/// expert puts it.
struct Buffers {
  std::int32_t* ids;        // [T, A]
  float* route_weights;     // [T, A]
  float* logits;            // [T, E]
  float* scratch;           // [T, 2 E]
  std::int32_t* first_row;  // [E + 1] rows of expert e are first_row[e] .. first_row[e + 1]
  std::int32_t* active;     // [E + 1] experts with rows, ascending; then E itself for the shared expert
  std::int32_t* slot_row;   // [T * A] row of each slot
  float* sorted_x;          // [T * A, D] input of each row, in f32 or quantised
  float* gate;              // [T * A, F], becomes silu(gate) * up
  float* up;                // [T * A, F]
  float* out;               // [T * A, D]
  float* x_q;               // x, quantised
  float* hidden_q;          // [T * A, F] gate, quantised
  float* shared_hidden_q;   // [T, F_shared] shared_gate, quantised
  float* shared_gate;       // [T, F_shared]
  float* shared_up;         // [T, F_shared]
  float* shared_out;        // [T, D]

  Buffers(const MoeWeights& w, const ModelArgs& args, Arena& arena, std::ptrdiff_t T) {
    const std::ptrdiff_t A = args.num_experts_per_token, E = args.num_experts, D = args.hidden_size;
    const std::ptrdiff_t F = args.moe_intermediate_size, shared_F = w.shared ? w.shared->gate_proj.N : 0;
    ids = reinterpret_cast<std::int32_t*>(arena.take(T * A));
    route_weights = arena.take(T * A);
    logits = arena.take(T * E);
    scratch = arena.take(T * 2 * E);
    first_row = reinterpret_cast<std::int32_t*>(arena.take(E + 1));
    active = reinterpret_cast<std::int32_t*>(arena.take(E + 1));
    slot_row = reinterpret_cast<std::int32_t*>(arena.take(T * A));
    sorted_x = arena.take(std::max(T * A * D, quantized_floats(T * A, D)));
    x_q = arena.take(quantized_floats(T, D));
    hidden_q = arena.take(quantized_floats(T * A, F));
    shared_hidden_q = arena.take(quantized_floats(T, shared_F));
    gate = arena.take(T * A * F);
    up = arena.take(T * A * F);
    out = arena.take(T * A * D);
    shared_gate = arena.take(T * shared_F);
    shared_up = arena.take(T * shared_F);
    shared_out = arena.take(w.shared ? T * D : 0);
  }
};

/// Step 1: scores, choice and weights for every token.
void choose_experts(const MoeWeights& w, const ModelArgs& args, RouterWeights mode, const LayerContext& c,
                    const float* x, std::ptrdiff_t T, const Buffers& b) noexcept {
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
                     .biased_weights = mode == RouterWeights::kHf,
                     .scale = args.routed_scaling_factor,
                     .scratch = b.scratch + t * 2 * E,
                     .ids = b.ids + t * A,
                     .weights = b.route_weights + t * A});
  });
}

/// Step 2: counting sort of the T * A slots by expert; within an expert rows keep token order.
/// Returns the number of experts that have work, the shared one included.
std::ptrdiff_t sort_by_expert(const MoeWeights& w, const LayerContext& c, const ModelArgs& args, const Rows& x,
                              std::ptrdiff_t T, const Buffers& b) noexcept {
  const std::ptrdiff_t A = args.num_experts_per_token, E = args.num_experts, D = args.hidden_size;
  const bool integers = w.experts_are_packed && x.q != nullptr;
  const auto* from = integers ? x.q : reinterpret_cast<const std::byte*>(x.x);
  const std::ptrdiff_t row_bytes = integers ? ActivationRow::bytes(D) : D * static_cast<std::ptrdiff_t>(sizeof(float));
  auto* to = reinterpret_cast<std::byte*>(b.sorted_x);
  std::fill_n(b.first_row, E + 1, 0);
  for (std::ptrdiff_t slot = 0; slot < T * A; ++slot) ++b.first_row[b.ids[slot] + 1];
  for (std::ptrdiff_t e = 0; e < E; ++e) b.first_row[e + 1] += b.first_row[e];
  for (std::ptrdiff_t slot = 0; slot < T * A; ++slot) b.slot_row[slot] = b.first_row[b.ids[slot]]++;
  for (std::ptrdiff_t e = E; e > 0; --e) b.first_row[e] = b.first_row[e - 1];  // undo the increments of the line above
  b.first_row[0] = 0;
  for_each_token(c, T, [&](std::ptrdiff_t t) {
    for (std::ptrdiff_t a = 0; a < A; ++a)
      std::memcpy(to + b.slot_row[t * A + a] * row_bytes, from + t * row_bytes, static_cast<std::size_t>(row_bytes));
  });

  std::ptrdiff_t num_active = 0;
  for (std::ptrdiff_t e = 0; e < E; ++e)
    if (b.first_row[e + 1] > b.first_row[e]) b.active[num_active++] = static_cast<std::int32_t>(e);
  if (w.shared) b.active[num_active++] = static_cast<std::int32_t>(E);
  return num_active;
}

/// One expert's share of a step: rows of the sorted tensors, or all tokens for the shared expert.
struct ExpertRows {
  const MlpWeights* w = nullptr;
  std::ptrdiff_t count = 0;
  Rows x;                 // [count, D]
  float* gate = nullptr;  // [count, F]
  float* up = nullptr;    // [count, F]
  Rows hidden;            // [count, F] gate when it has become silu(gate) * up
  float* out = nullptr;   // [count, D]
};

/// Rows [first, ..) of two views of the same tensor [.., K].
Rows rows_from(const Rows& all, std::ptrdiff_t first, std::ptrdiff_t K) {
  return {all.x ? all.x + first * K : nullptr, all.q ? all.q + first * ActivationRow::bytes(K) : nullptr};
}

/// What the chosen and the shared experts read.
struct ExpertInputs {
  Rows shared, chosen;                // [T, D], [T * A, D]
  Rows shared_hidden, chosen_hidden;  // [T, F_shared], [T * A, F]
};

/// Expert e of 0 .. E - 1, or the shared one for e = E.
ExpertRows rows_of(const MoeWeights& w, const ModelArgs& args, const ExpertInputs& in, std::ptrdiff_t T,
                   const Buffers& b, std::int32_t e) noexcept {
  if (e == args.num_experts) {
    return {&*w.shared, T, in.shared, b.shared_gate, b.shared_up, in.shared_hidden, b.shared_out};
  }
  const std::ptrdiff_t first = b.first_row[e], D = args.hidden_size, F = args.moe_intermediate_size;
  return {&w.experts[static_cast<std::size_t>(e)],
          b.first_row[e + 1] - first,
          rows_from(in.chosen, first, D),
          b.gate + first * F,
          b.up + first * F,
          rows_from(in.chosen_hidden, first, F),
          b.out + first * D};
}

/// Steps 3 and 4: all chosen experts (and the shared one) in two parallel regions, whatever their number of rows.
void run_experts(const MoeWeights& w, const ModelArgs& args, const LayerContext& c, const Rows& x, std::ptrdiff_t T,
                 const Buffers& b, std::ptrdiff_t num_active) noexcept {
  const std::ptrdiff_t D = args.hidden_size, rows = T * args.num_experts_per_token;
  const std::ptrdiff_t shared_F = w.shared ? w.shared->gate_proj.N : 0;
  const std::ptrdiff_t widest = std::max<std::ptrdiff_t>(args.moe_intermediate_size, shared_F);
  const bool integers = w.experts_are_packed && x.q != nullptr;
  ExpertInputs in{.shared = x, .chosen = {b.sorted_x}, .shared_hidden = {b.shared_gate}, .chosen_hidden = {b.gate}};
  if (integers) in.chosen = {nullptr, reinterpret_cast<const std::byte*>(b.sorted_x)};
  const std::ptrdiff_t up_step = outputs_per_task(num_active * widest, T, c.pool.size());
  const std::ptrdiff_t down_step = outputs_per_task(num_active * D, T, c.pool.size());
  const std::ptrdiff_t up_tasks = ceil_div(widest, up_step), down_tasks = ceil_div(D, down_step);

  for (std::ptrdiff_t i = 0; c.profiler != nullptr && i < num_active; ++i) {
    const ExpertRows r = rows_of(w, args, in, T, b, b.active[i]);
    count_products(c.profiler,
                   {product(r.w->gate_proj, r.x, r.gate, r.count), product(r.w->up_proj, r.x, r.up, r.count)});
  }
  c.pool.parallel_for(num_active * up_tasks, [&](std::ptrdiff_t task, int) {
    const ExpertRows r = rows_of(w, args, in, T, b, b.active[task / up_tasks]);
    const std::ptrdiff_t F = r.w->gate_proj.N, f0 = task % up_tasks * up_step, f1 = std::min(F, f0 + up_step);
    if (f0 >= F) return;  // the shared expert may be wider than the others
    c.kernels.matmul(product(r.w->gate_proj, r.x, r.gate, r.count), f0, f1);
    c.kernels.matmul(product(r.w->up_proj, r.x, r.up, r.count), f0, f1);
    for (std::ptrdiff_t t = 0; t < r.count; ++t)
      c.kernels.silu_mul(r.gate + t * F + f0, r.up + t * F + f0, f1 - f0, r.gate + t * F + f0);
  });
  if (integers) {
    in.chosen_hidden =
        rows_for(c, {&w.experts.front().down_proj}, b.gate, rows, args.moe_intermediate_size, b.hidden_q);
  }
  if (w.shared) {
    in.shared_hidden = rows_for(c, {&w.shared->down_proj}, b.shared_gate, T, shared_F, b.shared_hidden_q);
  }
  for (std::ptrdiff_t i = 0; c.profiler != nullptr && i < num_active; ++i) {
    const ExpertRows r = rows_of(w, args, in, T, b, b.active[i]);
    count_products(c.profiler, {product(r.w->down_proj, r.hidden, r.out, r.count)});
  }
  c.pool.parallel_for(num_active * down_tasks, [&](std::ptrdiff_t task, int) {
    const ExpertRows r = rows_of(w, args, in, T, b, b.active[task / down_tasks]);
    const std::ptrdiff_t d0 = task % down_tasks * down_step, d1 = std::min(D, d0 + down_step);
    c.kernels.matmul(product(r.w->down_proj, r.hidden, r.out, r.count), d0, d1);
  });
}

}  // namespace

void KimiSparseMoE::plan(const MoeWeights& w, const ModelArgs& args, Arena& arena, std::ptrdiff_t T) {
  const ArenaScope scope(arena);
  Buffers(w, args, arena, T);
}

Routing KimiSparseMoE::forward(const MoeWeights& w, const ModelArgs& args, RouterWeights mode, const LayerContext& c,
                               const float* x, std::ptrdiff_t T, float* y) noexcept {
  const Buffers b(w, args, c.arena, T);
  PartScope part(c.profiler, ModelPart::kRouter);
  choose_experts(w, args, mode, c, x, T, b);
  part.next(ModelPart::kExperts);
  const WeightMatrix& chosen = w.experts.front().gate_proj;
  const Rows in = rows_for(c, {&chosen, w.shared ? &w.shared->gate_proj : &chosen}, x, T, args.hidden_size, b.x_q);
  const std::ptrdiff_t num_active = sort_by_expert(w, c, args, in, T, b);
  run_experts(w, args, c, in, T, b, num_active);

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
