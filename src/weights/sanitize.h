#pragma once
#include <memory>
#include <string_view>

#include "base/problems.h"
#include "checkpoint/checkpoint.h"
#include "config/tensor_table.h"
#include "encodings/encoding.h"
#include "kl/model_args.h"
#include "weights/weights.h"

namespace kl {

/// How far to go.
enum class Binding : std::uint8_t {
  kWhole,
  kCheckOnly,  ///< encoded matrices are checked and counted but not converted: they have no data
};

/// Finds every tensor of the model in the checkpoint, under any name of tensor_table.cc, and checks dtype and shape.
///
/// Matrices are used where they lie in the mapped files.  Copied are: short vectors and convolutions (widened to f32,
/// taps brought to the front), the key half of kv_b_proj (transposed), whatever a file stores unaligned, and what is
/// stored in `encoding` (null: nothing is), which is brought into a form of the kernels without loss.  All namings give
/// the same values bit for bit.
///
/// Left alone: tensors of prediction heads (model.mtp*), rotary tables (inv_freq), tensors without elements, and an
/// lm_head beside tied embeddings (mlx-lm's rule: the embedding wins).
///
/// Errors    Error listing every missing, unexpected and misshapen tensor: kCorrupt, or kUnsupported if the only
///           complaints are element types that kl does not read.
ModelWeights bind_weights(const ModelArgs& args, std::shared_ptr<const Checkpoint> checkpoint,
                          const Encoding* encoding = nullptr);

/// The same, complaints collected instead of thrown; with complaints the result has holes and must not be used.
ModelWeights bind_weights(const ModelArgs& args, std::shared_ptr<const Checkpoint> checkpoint, const Encoding* encoding,
                          Problems& problems, Binding binding);

/// Is this a tensor that no Kimi Linear model computes with and that bind_weights() passes over?
bool is_left_alone(std::string_view name, const FileTensor& tensor);

/// Whose names the checkpoint uses, judged by a few that only they use.
Naming detect_naming(const Checkpoint& checkpoint);

}  // namespace kl
