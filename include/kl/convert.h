#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "kl/options.h"

namespace kl {

/// Whose format to write.
enum class TargetFormat : std::uint8_t {
  kHf,    ///< the released names and safetensors of Hugging Face: single floats
  kMlx,   ///< mlx-lm's: single floats, or MLX's own quantisation
  kKl,    ///< laid out as the kernels read it; numbers that are quantised already stay as they are
  kGguf,  ///< llama.cpp's
};

/// "hf", "mlx", "kl" or "gguf".
std::string_view name_of(TargetFormat format);

/// How MLX quantises: mx.quantize's parameters.
struct MlxQuantization {
  bool is_mxfp4 = false;  ///< else affine
  int bits = 4;           ///< affine: 2, 3, 4, 5, 6 or 8; mxfp4: 4
  int group_size = 64;    ///< affine: 32, 64 or 128; mxfp4: 32
};

/// What to write.
struct ConvertOptions {
  TargetFormat to = TargetFormat::kHf;

  /// Type of weights: "keep", "f32", "f16" or "bf16"; for GGUF also "q8_0" or "q4_0".
  std::string type = "keep";
  std::optional<MlxQuantization> mlx;  ///< for kMlx: quantise

  int threads = 0;  ///< 0 = one per core this process may use
  std::int64_t max_shard_bytes = 5'000'000'000;

  std::string command;  ///< for the model card; empty: left out
  Progress progress;    ///< counts bytes written, and is called after every few megabytes
};

/// What was written.
struct ConvertResult {
  std::int64_t source_bytes = 0;       ///< tensor bytes of the source
  std::int64_t tensor_bytes = 0;       ///< and of the result
  std::int64_t weights = 0;            ///< numbers in all
  std::int64_t quantized_weights = 0;  ///< of these, rounded to few bits now
  std::int64_t kept_weights = 0;       ///< of these, few bits already, as they were
  std::int64_t rounded_weights = 0;    ///< single floats that changed because their new type has fewer bits
  int files = 0;                       ///< with weights
  int resumed_files = 0;               ///< of these, found complete from an earlier run
};

/// Writes the model of a folder or GGUF file into folder `to`, in another format.
///
/// Nothing is quantised twice: numbers that are quantised already are only laid out anew, bits kept, or decoded if `type` is
/// one of single floats.  Memory stays small, whatever the model's size.  Besides weights and configuration the folder gets
/// tokenizer files, README.md and SHA256SUMS.
///
/// `to` must not exist, be empty, or hold what an interrupted run with the same source and options left, which is then
/// continued: files that are complete by their checksums are not written again.  config.json (GGUF: the last file) is written
/// last, so an unfinished folder does not load.  Nothing is left behind if anything fails before a file of weights is complete.
/// Throws Error: kInvalidArgument (options, folders), kUnsupported (the target cannot hold the model or its numbers), kCorrupt
/// (weights that are not finite), kCannotWrite, and whatever opening the source throws.
ConvertResult convert(const std::filesystem::path& from, const std::filesystem::path& to,
                      const ConvertOptions& options);

}  // namespace kl
