#pragma once
#include <cstdint>

#include "kl/model.h"

namespace kl::cli {

/// For one text of known length: how many of `max_tokens` there is room for behind a prompt.  `ctx_size` is -c; 0 means
/// what the model was trained for.
/// Throws Error(kInvalidArgument) if the prompt alone is too long, Error(kOutOfMemory) if memory is too small for both.
std::int64_t admit_text(const ModelArgs& args, const MemoryPlan& plan, std::int64_t ctx_size,
                        std::int64_t prompt_tokens, std::int64_t max_tokens);

/// For a conversation, whose length nobody knows: the most tokens it may have, `ctx_size` if that is given.
/// Throws Error(kOutOfMemory) if there is no memory for that, or for `least` tokens.
std::int64_t admit_conversation(const ModelArgs& args, const MemoryPlan& plan, std::int64_t ctx_size,
                                std::int64_t least);

}  // namespace kl::cli
