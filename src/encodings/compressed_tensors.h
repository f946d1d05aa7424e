#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/problems.h"
#include "encodings/encoding.h"

namespace kl {

/// How a group of modules is compressed.
struct CompressedScheme {
  enum class Kind : std::uint8_t {
    kInt,    ///< pack-quantized: integers of 4 or 8 bits
    kFp8,    ///< float-quantized: E4M3
    kNvfp4,  ///< nvfp4-pack-quantized: E2M1 with a scale in E4M3 for 16 and one for all
  };
  Kind kind = Kind::kInt;
  int bits = 4;
  std::int64_t group_size = 0;  ///< inputs that share a scale; 0: the whole row, or with is_per_tensor the whole matrix
  bool is_per_tensor = false;
  bool is_symmetric = true;  ///< else integers count from a zero point

  std::string text() const;  ///< "compressed-tensors int, 4 bits, groups of 32"
};

/// Matrices as llm-compressor writes them (quant_method "compressed-tensors").
///
///     pack-quantized         X.weight_packed I32 [rows, cols bits / 32], X.weight_scale [rows, cols / group],
///                            X.weight_shape I64 [2], X.weight_zero_point I32 [rows bits / 32, cols / group] if not symmetric
///                            w = scale (q - 2^(bits-1))   or   scale (q - zero point), both stored unsigned
///     float-quantized        X.weight F8_E4M3 [rows, cols], X.weight_scale [rows, 1] or [1]
///                            w = scale e4m3
///     nvfp4-pack-quantized   X.weight_packed U8 [rows, cols / 2], X.weight_scale F8_E4M3 [rows, cols / 16],
///                            X.weight_global_scale F32 [1]
///                            w = e2m1 e4m3 / global scale
///
/// A module is compressed if it has these tensors; which scheme of the configuration is its own follows from their types and
/// shapes, not from the lists of targets.  How activations were quantised does not matter here: theirs are left alone.
/// Source    compressed-tensors, compressors/.
class CompressedTensorsEncoding : public Encoding {
 public:
  /// From `quantization_config` of config.json; what is wrong with it or unknown goes to `problems`.
  CompressedTensorsEncoding(const Json& block, Problems& problems);

  std::string_view name() const override { return "compressed-tensors"; }
  StoredModule find(const std::string& module, const std::vector<std::int64_t>& shape,
                    TensorSource& source) const override;

 private:
  const CompressedScheme* scheme_of(CompressedScheme::Kind kind, const FileTensor* scale,
                                    const std::vector<std::int64_t>& shape, const FileTensor* packed,
                                    bool has_zero_point) const;

  std::vector<CompressedScheme> schemes_;
};

}  // namespace kl
