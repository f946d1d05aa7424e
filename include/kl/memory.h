#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "kl/model.h"

namespace kl {

/// Memory of a model at work, part by part, in bytes.
struct ServingPlan {
  std::int64_t ctx_size = 0;  ///< most tokens of one text
  int slots = 1;              ///< texts at a time

  std::size_t program =
      0;  ///< code, libraries, tokenizer: what is resident before a model is opened; filled by who knows
  std::size_t weights = 0;  ///< mapped and copied
  std::size_t scratch = 0;  ///< of one pass, logits included
  std::size_t states = 0;   ///< KDA, all slots, drafts included
  std::size_t latents = 0;  ///< MLA, all slots at ctx_size tokens, in whole blocks
  std::size_t cache = 0;    ///< states and latents kept beside those of the slots

  std::size_t total() const;  ///< 2^63 - 1 if it is beyond that
};

/// The arithmetic of docs/serving.md#memory.  Saturates as total() does.
///
/// `max_draft`  tentative tokens a text may hold at a time (speculation); 0: none.
ServingPlan plan_serving(const MemoryPlan& model, std::int64_t ctx_size, int slots, std::size_t cache_bytes,
                         int max_draft = 0);

/// The most tokens of a text, all else equal, with which the plan fits into `available` bytes; 0 if none does.
/// At most `limit`.
std::int64_t ctx_that_fits(const MemoryPlan& model, const ServingPlan& plan, std::size_t available, std::int64_t limit);

/// A cache budget where nobody gave one: an eighth of what the rest of the plan leaves of `available` bytes.
std::size_t default_cache_bytes(const ServingPlan& plan, std::size_t available);

/// For a plan that does not fit into `available` bytes: which flags to lower, with a value for -c if lowering it alone helps.
std::string what_to_lower(const MemoryPlan& model, const ServingPlan& plan, std::size_t available);

/// Throws Error(kOutOfMemory), naming need, have and what_to_lower(), if the plan does not fit into `available` bytes;
/// 0 means that nobody knows.
void require_memory(const MemoryPlan& model, const ServingPlan& plan, std::size_t available);

}  // namespace kl
