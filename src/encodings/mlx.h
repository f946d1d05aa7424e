#pragma once
#include <map>
#include <optional>
#include <string>

#include "base/json.h"
#include "base/problems.h"
#include "encodings/encoding.h"

namespace kl {

/// How MLX quantises a matrix.
enum class MlxMode : std::uint8_t {
  kAffine,  ///< w = scale q + bias, q unsigned of 2 to 8 bits
  kMxfp4,   ///< E2M1 times an E8M0 scale
  kMxfp8,   ///< E4M3 times an E8M0 scale
  kNvfp4,   ///< E2M1 times an E4M3 scale
};

/// With what settings.
struct MlxSettings {
  MlxMode mode = MlxMode::kAffine;
  int bits = 4;
  int group_size = 64;
};

/// Matrices as mlx-lm writes them: `X.weight` in words of 32 bits, `X.scales`, and for affine ones `X.biases`.
///
///     X.weight  U32 [..., rows, cols bits / 32]    a row is one stream of bits, least significant first
///     X.scales  [..., rows, cols / group]          the model's type; U8 for mxfp4, mxfp8, nvfp4
///     X.biases  as X.scales
///
/// A module is quantised if it has scales.  Its settings are those of its path in the configuration, else the general ones; an
/// entry without a mode is affine whatever the general one is.
/// Source    mlx nn.quantize; mlx-lm utils.load_model.
class MlxEncoding : public Encoding {
 public:
  /// From the `quantization` object of config.json; what is wrong with it goes to `problems`, under `name`.
  MlxEncoding(const Json& block, const std::string& name, Problems& problems);

  std::string_view name() const override { return "MLX"; }
  StoredModule find(const std::string& module, const std::vector<std::int64_t>& shape,
                    TensorSource& source) const override;
  void check_modules(const std::function<bool(std::string_view)>& is_module, TensorSource& source) const override;

 private:
  MlxSettings general_;
  std::map<std::string, std::optional<MlxSettings>, std::less<>> modules_;  // nothing: not quantised
};

}  // namespace kl
