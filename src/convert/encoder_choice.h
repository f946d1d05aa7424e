#pragma once
#include <optional>
#include <string>
#include <vector>

#include "convert/conversion.h"
#include "convert/row_encoder.h"
#include "convert/target_layout.h"
#include "kl/convert.h"
#include "packing/predicates.h"

namespace kl {

/// A tensor of the target with its encoding, and what comes of that.
struct OutputModule {
  TargetModule source;
  EncoderPtr encoder;
  std::vector<EncodedTensor> tensors;
  std::optional<PackedFormat> kept;  ///< the numbers stay as they are, in this format
  std::optional<MlxSettings> mlx;    ///< how MLX has to read it, if it is quantised

  std::int64_t units() const;                    ///< runs of rows that are encoded together, in all parts
  std::int64_t bytes(std::size_t tensor) const;  ///< of one of the tensors
  std::int64_t bytes() const;                    ///< of all
};

/// "a.b" of "a.b.weight".
std::string module_path(const std::string& tensor);

/// Chooses how each tensor of a target is encoded.
class EncoderChoice {
 public:
  /// `packing` (may be null): of unquantised matrices for kKl, as `kl quantize` asks.
  EncoderChoice(const ConvertOptions& options, const Packing* packing) : options_(options), packing_(packing) {}

  /// Throws Error(kUnsupported) if the target has no place for the numbers as they are, naming the tensor and what helps.
  OutputModule choose(TargetModule module) const;

 private:
  EncoderPtr choose_hf(const OutputModule& out) const;
  EncoderPtr choose_mlx(OutputModule& out) const;
  EncoderPtr choose_kl(OutputModule& out) const;
  EncoderPtr choose_gguf(OutputModule& out) const;

  DType plain_type(const TargetModule& module) const;

  const ConvertOptions& options_;
  const Packing* packing_;
};

}  // namespace kl
