#pragma once

namespace kl {

/// The chat format of Kimi Linear as a template: no default system turn, no BOS, no newlines between turns; tools as the
/// K2 family has them, compact.  docs/chat.md shows what it makes.
extern const char* const kBuiltinTemplate;

}  // namespace kl
