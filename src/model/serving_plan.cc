#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <limits>

#include "kernels/kernels.h"
#include "kl/error.h"
#include "kl/memory.h"

namespace kl {
namespace {

constexpr std::size_t kMost = std::numeric_limits<std::int64_t>::max();

/// a b, at most kMost.
std::size_t product(std::size_t a, std::size_t b) {
  std::size_t result = 0;
  return __builtin_mul_overflow(a, b, &result) ? kMost : std::min(result, kMost);
}

/// All of them, at most kMost.
std::size_t sum(std::initializer_list<std::size_t> parts) {
  std::size_t result = 0;
  for (const std::size_t part : parts) result = std::min(result + std::min(part, kMost), kMost);  // both below 2^63
  return result;
}

/// Bytes of the latents of one text, which lie in blocks.
std::size_t latents_of(const MemoryPlan& model, std::int64_t tokens) {
  const auto blocks = static_cast<std::size_t>((tokens + kKeyBlock - 1) / kKeyBlock);
  return product(blocks, product(kKeyBlock, model.state_per_token));
}

/// "512 MB", "3.4 GB".
std::string gigabytes(std::size_t bytes) {
  const double value = static_cast<double>(bytes);
  return value < 1e9 ? fmt::format("{:.0f} MB", value / 1e6) : fmt::format("{:.1f} GB", value / 1e9);
}

}  // namespace

std::size_t ServingPlan::total() const { return sum({program, weights, scratch, states, latents, cache}); }

ServingPlan plan_serving(const MemoryPlan& model, std::int64_t ctx_size, int slots, std::size_t cache_bytes,
                         int max_draft) {
  const auto count = static_cast<std::size_t>(slots), drafts = static_cast<std::size_t>(max_draft);
  return {.ctx_size = ctx_size,
          .slots = slots,
          .weights = model.weights_mapped + model.weights_copied,
          .scratch = model.scratch,
          .states = product(count, sum({model.state_fixed, product(drafts, model.state_per_tentative)})),
          .latents = product(count, latents_of(model, ctx_size)),
          .cache = cache_bytes};
}

std::int64_t ctx_that_fits(const MemoryPlan& model, const ServingPlan& plan, std::size_t available,
                           std::int64_t limit) {
  ServingPlan rest = plan;
  rest.latents = 0;
  if (rest.total() > available) return 0;
  const std::size_t block = product(static_cast<std::size_t>(plan.slots), latents_of(model, kKeyBlock));
  if (block == 0) return limit;
  const std::size_t blocks = std::min((available - rest.total()) / block, static_cast<std::size_t>(limit));
  return std::min(static_cast<std::int64_t>(std::min(blocks, kMost / kKeyBlock)) * kKeyBlock, limit);
}

std::size_t default_cache_bytes(const ServingPlan& plan, std::size_t available) {
  constexpr std::size_t kShare = 8;
  ServingPlan rest = plan;
  rest.cache = 0;
  return (available - std::min(available, rest.total())) / kShare;
}

std::string what_to_lower(const MemoryPlan& model, const ServingPlan& plan, std::size_t available) {
  const ServingPlan least = plan_serving(model, 1, 1, 0);
  if (sum({plan.program, least.total()}) > available) {
    return fmt::format("{} of it for weights and {} for a pass: --chunk lowers the latter, kl quantize the former",
                       gigabytes(plan.weights), gigabytes(plan.scratch));
  }
  std::string text = "lower ";
  const std::int64_t fits = ctx_that_fits(model, plan, available, plan.ctx_size);
  text += fits > 0 ? fmt::format("-c to {}", fits) : "-c";
  if (plan.slots > 1) text += fmt::format(", --parallel ({})", plan.slots);
  if (plan.cache > 0 && plan.slots > 1) text += fmt::format(", --cache-bytes ({})", gigabytes(plan.cache));
  return text + ", or take --cache-type int8";
}

void require_memory(const MemoryPlan& model, const ServingPlan& plan, std::size_t available) {
  if (available == 0 || plan.total() <= available) return;
  throw Error(ErrorCode::kOutOfMemory,
              fmt::format("memory: expected {} free for {} of {} tokens, got {}; {}", gigabytes(plan.total()),
                          plan.slots == 1 ? "a text" : fmt::format("{} texts", plan.slots), plan.ctx_size,
                          gigabytes(available), what_to_lower(model, plan, available)));
}

}  // namespace kl
