#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kl/error.h"
#include "kl/model_args.h"

namespace kl {

/// One decoder layer as the configuration describes it.
struct LayerReport {
  LayerKind attention = LayerKind::kKda;
  FeedForwardKind feed_forward = FeedForwardKind::kDense;
  std::int64_t parameters = 0;
};

/// One file with tensors.
struct FileReport {
  std::string name;  ///< without the folder
  std::int64_t bytes = 0;
  std::int64_t tensors = 0;
};

/// One tensor as the file describes it.
struct TensorReport {
  std::string name;
  std::string dtype;  ///< the element type, or the format of packed weights: "q4_g32_f16"
  std::vector<std::int64_t> shape;
  std::int64_t bytes = 0;
  std::size_t file = 0;  ///< index into ModelReport::files
};

/// Tensors of one element type.
struct DTypeReport {
  std::int64_t tensors = 0;
  std::int64_t bytes = 0;
};

/// Matrices stored in one encoding of quantised weights.
struct EncodingReport {
  std::string name;           ///< "MLX affine, 4 bits, groups of 64"
  std::int64_t matrices = 0;  ///< stacked ones count once
  std::int64_t weights = 0;
  std::int64_t bytes = 0;  ///< in the files, scales and all
  std::string held_as;     ///< in memory: "q4_g64m_bf16" (packed, docs/quantization.md), "BF16" or "F32"
};

/// What a model folder is, what it needs, and everything wrong with it.
struct ModelReport {
  std::string path;

  // --- from config.json alone ---------------------------------------------------------------------------------------
  std::optional<ModelArgs> args;       ///< nothing if config.json could not be understood
  std::vector<LayerReport> layers;     ///< [num_hidden_layers]
  std::int64_t config_parameters = 0;  ///< what a checkpoint of these dimensions holds (48B: 49,122,681,728)
  std::int64_t config_tensors = 0;     ///< in the released naming (48B: 20,493)
  std::int64_t active_parameters = 0;  ///< touched per token: chosen experts, one row of the embedding (48B: 3.1e9)

  // --- from the files -----------------------------------------------------------------------------------------------
  bool has_weights = false;  ///< false for a lone config.json
  std::string
      naming;  ///< "kl quantize", "Hugging Face", "transformers", "mlx-lm", "mlx-lm (before absorbed attention)", "GGUF (llama.cpp)"
  std::vector<FileReport> files;
  std::vector<TensorReport> tensors;  ///< by name
  std::map<std::string, DTypeReport> dtypes;
  std::int64_t tensor_bytes = 0;
  std::int64_t file_parameters = 0;  ///< elements of all tensors in the files; of encoded matrices those that make them
  std::vector<EncodingReport> encodings;  ///< of weights that are repacked or decoded at load, if nothing is wrong

  // --- memory, bytes ------------------------------------------------------------------------------------------------
  std::int64_t weights_mapped = 0;   ///< used where they lie in the files
  std::int64_t weights_copied = 0;   ///< small tensors and encoded matrices, converted at load
  std::int64_t state_fixed = 0;      ///< per sequence: KDA states and convolution rows, f32
  std::int64_t state_per_token = 0;  ///< per sequence and token: MLA latents, as CacheType::kAuto keeps them

  /// Memory of one sequence of `tokens` tokens, weights not included; the largest number there is if it is beyond that.
  std::int64_t state_bytes(std::int64_t tokens) const;

  std::vector<std::string> notes;     ///< harmless oddities: unknown keys, ignored tensors, ids beyond the vocabulary
  std::vector<std::string> problems;  ///< why the model could not be run; empty = it can
  ErrorCode problem_code = ErrorCode::kCorrupt;  ///< of the problems, if any
};

/// Examines a model folder, or a config.json alone.  What is wrong with it is reported; only lack of memory throws.
ModelReport inspect(const std::filesystem::path& path);

}  // namespace kl
