#pragma once
#include <filesystem>
#include <memory>

#include "base/json.h"
#include "base/problems.h"
#include "encodings/encoding.h"

namespace kl {

/// The encoding in which config.json says the weights are stored: `quantization` (mlx-lm) or `quantization_config`.
///
/// Null if all tensors are plain or in the format of `kl quantize`, whose tensors say themselves what they are.
/// Errors    settings that are impossible (kCorrupt) or that kl does not read (kUnsupported) go to `problems`.
std::unique_ptr<const Encoding> read_encoding(const Json& config, Problems& problems);

/// The same of DIR/config.json, or of a GGUF file, which ModelArgs::load() has found sound.
/// Throws Error as it does.
std::unique_ptr<const Encoding> load_encoding(const std::filesystem::path& dir);

}  // namespace kl
