#pragma once
#include <cstdint>
#include <filesystem>

#include "kl/options.h"

namespace kl {

/// How to quantise a model.
struct QuantizeOptions {
  int bits = 4;  ///< 4 or 8
  int group_size =
      32;  ///< 32: a scale for 32 weights, symmetric; 64: scale and minimum for 64.  Both 4.5 or 8.5 bits a weight
  int threads = 0;  ///< 0 = one per core this process may use
  std::int64_t max_shard_bytes = 5'000'000'000;
  Progress progress;  ///< counts bytes written, and is called after every few megabytes
};

/// What was written.
struct QuantizeResult {
  std::int64_t source_bytes = 0;    ///< tensor bytes of the source
  std::int64_t tensor_bytes = 0;    ///< and of the result
  std::int64_t packed_weights = 0;  ///< weights that were quantised
  std::int64_t kept_weights = 0;    ///< and those that kept their type
  int files = 0;
};

/// Writes the model of folder `from` into folder `to` with its matrices quantised and laid out as the kernels read them
/// (docs/quantization.md), so that the result is mapped and not loaded.
///
/// Which matrices: those whose rows divide into groups; the router gets 8 bits whatever the rest gets; norms, convolutions,
/// A_log, dt_bias and the correction bias keep their values.  config.json says what was done; tokenizer files are copied, README.md
/// and SHA256SUMS written.  The source may have any naming, or be a GGUF file.  Memory stays small, whatever the model's size.
/// `to` must not exist, be empty, or hold what an interrupted run with the same source and options left; it must lie outside
/// `from`.  What an error or interruption leaves is as with convert() (kl/convert.h).
/// Throws Error: kInvalidArgument (bits, group, folders), kUnsupported (the source is quantised already), kCorrupt (weights
/// that are not finite), kCannotWrite, and whatever opening the source throws.
QuantizeResult quantize(const std::filesystem::path& from, const std::filesystem::path& to,
                        const QuantizeOptions& options = {});

}  // namespace kl
