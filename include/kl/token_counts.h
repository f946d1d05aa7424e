#pragma once
#include <cstdint>

namespace kl {

/// Tokens of one text, or of many together.
struct TokenCounts {
  std::int64_t prompt = 0;     ///< of the prompt
  std::int64_t cached = 0;     ///< of these: not read by the model, since a checkpoint held them
  std::int64_t generated = 0;  ///< drawn
  std::int64_t drafted = 0;    ///< fed by speculation before they were drawn
  std::int64_t accepted = 0;   ///< of these: drawn as well
};

}  // namespace kl
