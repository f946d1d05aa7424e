#include "cli/admission.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/memory_info.h"
#include "kl/error.h"
#include "kl/memory.h"

namespace kl::cli {
namespace {

std::int64_t limit_of(const ModelArgs& args, std::int64_t ctx_size) {
  if (ctx_size > 0) return ctx_size;
  return args.model_max_length > 0 ? args.model_max_length : std::numeric_limits<std::int64_t>::max();
}

}  // namespace

std::int64_t admit_text(const ModelArgs& args, const MemoryPlan& plan, std::int64_t ctx_size,
                        std::int64_t prompt_tokens, std::int64_t max_tokens) {
  const std::int64_t limit = limit_of(args, ctx_size);
  if (prompt_tokens > limit || (prompt_tokens == limit && max_tokens > 0)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("prompt: expected fewer tokens than the context of {} (-c), got {}", limit, prompt_tokens));
  }
  const std::int64_t room = std::min(max_tokens, limit - prompt_tokens);
  require_memory(plan, plan_serving(plan, prompt_tokens + room, 1, 0), available_bytes());
  return room;
}

std::int64_t admit_conversation(const ModelArgs& args, const MemoryPlan& plan, std::int64_t ctx_size,
                                std::int64_t least) {
  constexpr std::size_t kSnapshots = 3;  // before the last answer and behind it, and before the one in the making
  const std::size_t kept = kSnapshots * plan.state_fixed, available = available_bytes();
  const std::int64_t limit = limit_of(args, ctx_size);
  const std::int64_t needed = ctx_size > 0 ? ctx_size : std::min(least, limit);
  require_memory(plan, plan_serving(plan, needed, 1, kept), available);
  if (ctx_size > 0 || available == 0) return limit;
  return ctx_that_fits(plan, plan_serving(plan, needed, 1, kept), available, limit);
}

}  // namespace kl::cli
