#pragma once
// What turns rows of a model into bytes of a file.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "convert/packed_model.h"
#include "convert/source_matrix.h"
#include "encodings/mlx.h"
#include "gguf/ggml_type.h"
#include "kernels/packed.h"
#include "kl/safetensors.h"

namespace kl {

/// One of the tensors that an encoder makes of a matrix.
struct EncodedTensor {
  TensorSpec spec;             ///< dtype as the target's container spells it
  std::int64_t row_bytes = 0;  ///< of one unit of rows
};

/// An encoding of matrices: rows in, bytes of one or more tensors out.
///
/// Thread safety: immutable, but for the count of rounded weights, which is atomic.
class RowEncoder {
 public:
  RowEncoder() = default;
  virtual ~RowEncoder() = default;
  RowEncoder(const RowEncoder&) = delete;
  RowEncoder& operator=(const RowEncoder&) = delete;

  /// The tensors that `name`, say "model.norm.weight", becomes.
  /// Shapes    shape: of the numbers; its last dimension is a row.
  virtual std::vector<EncodedTensor> tensors(const std::string& name, const std::vector<std::int64_t>& shape) const = 0;

  /// Rows that are encoded together; the last ones of a matrix may be fewer.
  virtual std::int64_t unit() const { return 1; }

  /// Encodes rows first .. first + count - 1, `first` being a multiple of unit(), to the places in `out`, one a tensor.
  /// Answers what is wrong with them, "expected X, got Y"; nullptr if nothing is.
  virtual const char* encode(const SourceMatrix& matrix, std::int64_t first, std::int64_t count, RowScratch& scratch,
                             std::span<std::byte* const> out) const = 0;

  /// Are weights rounded to a grid of few bits?
  virtual bool is_quantising() const { return false; }

  /// Weights that are not what they were because their new type has fewer bits.
  std::int64_t rounded() const { return rounded_; }

 protected:
  mutable std::atomic<std::int64_t> rounded_{0};
};

using EncoderPtr = std::shared_ptr<const RowEncoder>;

/// Single floats.  `negated_exp`: -exp(x) of what is given, as GGUF has A_log.
EncoderPtr plain_encoder(DType type, bool negated_exp = false);

/// As mx.quantize does it, bit for bit, of weights in `type`, which is also the type of scales and biases; affine and mxfp4.
EncoderPtr mlx_encoder(const MlxSettings& settings, DType type);

/// Numbers that are quantised already, as MLX writes affine ones.
EncoderPtr mlx_keeper(const PackedFormat& format);

/// As `kl quantize` does it: squared error least for every group.
EncoderPtr packing_encoder(const PackedFormat& format);

/// Matrices that are packed already.  `parts`: the module's, in the order of the packed ones; only their addresses are used.
EncoderPtr prepacked_encoder(const PackedTensor& packed, const SourceMatrix* parts);

/// Numbers that are quantised already, laid out as the kernels read them.
EncoderPtr packing_keeper(const PackedFormat& format);

/// Q8_0 and Q4_0 as ggml's reference does it, bit for bit.
EncoderPtr ggml_encoder(const GgmlType& type);

/// Numbers that are quantised already in Q4_0, Q4_1 or Q8_0; null if no type of these has them.
EncoderPtr ggml_keeper(const PackedFormat& format);

}  // namespace kl
