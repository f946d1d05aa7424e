#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

#include "kl/model_args.h"
#include "kl/options.h"

namespace kl {

/// How to make up a model.
struct SynthOptions {
  std::string dtype = "bf16";       ///< "bf16", "f16" or "f32"; A_log and dt_bias are f32 always
  int bits = 0;                     ///< 4 or 8: matrices are packed as `kl quantize` packs them; 0: none are
  int group_size = 32;              ///< of packed ones, 32 or 64
  std::uint64_t seed = 0;           ///< same seed, same bytes, however the tensors are spread over files
  std::filesystem::path tokenizer;  ///< copied as tiktoken.model; if empty, a tokenizer of single bytes is written
  std::int64_t max_shard_bytes = 5'000'000'000;
  Progress progress;  ///< counts bytes of tensors, and is called after every few megabytes
};

/// What was written.
struct SynthResult {
  std::int64_t parameters = 0;
  std::int64_t tensors = 0;
  std::int64_t tensor_bytes = 0;
  int files = 0;  ///< with weights
};

/// Writes a folder with a model of any size whose weights are random but healthy: activations stay near one, gates and
/// decays lie where training leaves them, experts are used evenly.  Its text is noise; sizes and speed are real.
///
/// Names and types are those of the released checkpoint.  Memory stays at a few megabytes whatever the model's size.
/// `dir` must not exist or be empty.  If anything fails, whatever was written is removed.
/// Throws Error: kInvalidArgument (dtype), kCannotWrite (folder in use, no space, disk errors), kNotFound (tokenizer).
SynthResult synthesize(const ModelArgs& args, const std::filesystem::path& dir, const SynthOptions& options = {});

}  // namespace kl
