#include "layers/sparse_moe.h"

#include <cstring>

#include "layers/mlp.h"

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
  float* x_q;               // x, quantised
  float* hidden;            // [T * A, F] silu(gate) * up of each row, in f32 or quantised
  float* shared_hidden;     // [T, F_shared]
  float* out;               // [T * A, D]
  float* shared_out;        // [T, D]
  float* workers;           // [workers, 2 most_task_floats] gate and up of a task

  Buffers(const MoeWeights& w, const ModelArgs& args, Arena& arena, std::ptrdiff_t T, int num_workers) {
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
    hidden = arena.take(hidden_floats(T * A, F));
    shared_hidden = arena.take(hidden_floats(T, shared_F));
    out = arena.take(T * A * D);
    shared_out = arena.take(w.shared ? T * D : 0);
    workers = arena.take(num_workers * 2 * most_task_floats(T));
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
  Rows x;                // [count, D]
  HiddenRows hidden;     // [count, F]
  float* out = nullptr;  // [count, D]
};

/// Rows [first, ..) of a tensor [.., K] in one of two forms.
Rows rows_from(const Rows& all, std::ptrdiff_t first, std::ptrdiff_t K) {
  return {all.x ? all.x + first * K : nullptr, all.q ? all.q + first * ActivationRow::bytes(K) : nullptr};
}
HiddenRows rows_from(const HiddenRows& all, std::ptrdiff_t first, std::ptrdiff_t F) {
  return {all.x ? all.x + first * F : nullptr, all.q ? all.q + first * ActivationRow::bytes(F) : nullptr};
}

/// All rows that the chosen and the shared experts read and write.
struct AllRows {
  Rows shared_x, x;                  // [T, D], [T * A, D]
  HiddenRows shared_hidden, hidden;  // [T, F_shared], [T * A, F]
};

/// Expert e of 0 .. E - 1, or the shared one for e = E.
ExpertRows rows_of(const MoeWeights& w, const ModelArgs& args, const AllRows& all, std::ptrdiff_t T, const Buffers& b,
                   std::int32_t e) noexcept {
  if (e == args.num_experts) return {&*w.shared, T, all.shared_x, all.shared_hidden, b.shared_out};
  const std::ptrdiff_t first = b.first_row[e], D = args.hidden_size, F = args.moe_intermediate_size;
  return {&w.experts[static_cast<std::size_t>(e)], b.first_row[e + 1] - first, rows_from(all.x, first, D),
          rows_from(all.hidden, first, F), b.out + first * D};
}

/// Steps 3 and 4: all chosen experts (and the shared one) in two parallel regions, whatever their number of rows.
void run_experts(const MoeWeights& w, const ModelArgs& args, const LayerContext& c, const Rows& x, std::ptrdiff_t T,
                 const Buffers& b, std::ptrdiff_t num_active) noexcept {
  const std::ptrdiff_t D = args.hidden_size, shared_F = w.shared ? w.shared->gate_proj.N : 0;
  const std::ptrdiff_t widest = std::max<std::ptrdiff_t>(args.moe_intermediate_size, shared_F);
  AllRows all{.shared_x = x, .x = {b.sorted_x}, .shared_hidden = {}, .hidden = {b.hidden}};
  if (w.experts_are_packed && x.q != nullptr) {
    all.x = {nullptr, reinterpret_cast<const std::byte*>(b.sorted_x)};
    all.hidden = hidden_rows(c, w.experts.front().down_proj, b.hidden);
  }
  if (w.shared) all.shared_hidden = hidden_rows(c, w.shared->down_proj, b.shared_hidden);
  const auto expert = [&](std::ptrdiff_t i) { return rows_of(w, args, all, T, b, b.active[i]); };
  const std::ptrdiff_t up_step = outputs_per_task(num_active * widest, T, c.pool.size());
  const std::ptrdiff_t down_step = outputs_per_task(num_active * D, T, c.pool.size());
  const std::ptrdiff_t up_tasks = ceil_div(widest, up_step), down_tasks = ceil_div(D, down_step);

  for (std::ptrdiff_t i = 0; c.profiler != nullptr && i < num_active; ++i) {
    const ExpertRows r = expert(i);
    count_products(c.profiler,
                   {product(r.w->gate_proj, r.x, nullptr, r.count), product(r.w->up_proj, r.x, nullptr, r.count),
                    product(r.w->down_proj, r.hidden.read(), nullptr, r.count)});
  }
  c.pool.parallel_for(num_active * up_tasks, [&](std::ptrdiff_t task, int worker) {
    const ExpertRows r = expert(task / up_tasks);
    const std::ptrdiff_t F = r.w->gate_proj.N, f0 = task % up_tasks * up_step;
    if (f0 >= F) return;  // the shared expert may be wider than the others
    KimiMLP::hidden(*r.w, c.kernels, r.x, r.count, f0, std::min(F, f0 + up_step),
                    b.workers + worker * 2 * most_task_floats(T), r.hidden);
  });
  c.pool.parallel_for(num_active * down_tasks, [&](std::ptrdiff_t task, int) {
    const ExpertRows r = expert(task / down_tasks);
    const std::ptrdiff_t d0 = task % down_tasks * down_step, d1 = std::min(D, d0 + down_step);
    c.kernels.matmul(product(r.w->down_proj, r.hidden.read(), r.out, r.count), d0, d1);
  });
}

}  // namespace

void KimiSparseMoE::plan(const MoeWeights& w, const ModelArgs& args, Arena& arena, std::ptrdiff_t T, int workers) {
  const ArenaScope scope(arena);
  Buffers(w, args, arena, T, workers);
}

Routing KimiSparseMoE::forward(const MoeWeights& w, const ModelArgs& args, RouterWeights mode, const LayerContext& c,
                               const float* x, std::ptrdiff_t T, float* y) noexcept {
  const Buffers b(w, args, c.arena, T, c.pool.size());
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
