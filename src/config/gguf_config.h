#pragma once
#include <string>

#include "gguf/gguf_file.h"
#include "kl/model_args.h"

namespace kl {

/// What the metadata of a GGUF model of architecture kimi-linear say, as config.json would say it in the released spelling, so
/// that ModelArgs::parse() checks both by the same rules.  Keys nobody knows keep their name.
///
///     kimi-linear.attention.head_count_kv   0 for a KDA layer, 1 for an MLA layer
///     kimi-linear.attention.key_length_mla  qk_nope_head_dim + rope.dimension_count
///
/// Errors    Error(kUnsupported) for another architecture; kCorrupt with every key that is missing or of the wrong kind.
/// Source    the converter and loader of llama.cpp.
std::string gguf_config_json(const GgufFile& gguf);

/// The arguments themselves.  Throws also what ModelArgs::parse() throws.
ModelArgs gguf_model_args(const GgufFile& gguf);

}  // namespace kl
