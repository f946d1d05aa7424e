#pragma once
// The only place that knows how checkpoints name the tensors of a Kimi Linear model.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kl/model_args.h"

namespace kl {

/// Who wrote the names.  A folder may mix them; kAny marks names that all share.
enum class Naming : std::uint8_t {
  kAny,
  kReleased,  ///< moonshotai's own files: block_sparse_moe.experts.N.w1, q_conv1d, kv_b_proj
  kNative,    ///< transformers' in-memory names: forget_gate.*, conv1d, mlp.experts.gate_up_proj
  kMlx,       ///< mlx-lm: mlp.switch_mlp.*, q_conv.conv, embed_q and unembed_out (older files: kv_b_proj)
  kGguf,      ///< llama.cpp's GGUF files: blk.N.attn_q.weight, blk.N.ffn_gate_exps.weight
};

/// Which part of the model a tensor belongs to; all but the first two are repeated per layer.
enum class Part : std::uint8_t { kTop, kLmHead, kLayer, kKda, kMla, kDense, kMoe, kExpert, kShared };

/// One way a file may hold what a role needs.
struct Spelling {
  Naming naming = Naming::kAny;
  std::string name;  ///< after "model.layers.N." (GGUF: "blk.N.") unless the part is at the top; "{e}" is the expert
  std::vector<std::vector<std::int64_t>> shapes;  ///< accepted; all have the same elements in the same order

  // Where the role's rows lie if the tensor, seen as rows of `cols` elements, holds more than them: they begin at
  // first_row + row_step * (expert or head).
  std::int64_t first_row = 0;
  std::int64_t row_step = 0;
  bool is_transposed = false;   ///< the file holds [cols, rows]
  bool is_negated_exp = false;  ///< the file holds -exp of what is needed
};

/// What the model needs: a [rows, cols] matrix (vectors: cols = 1), per expert or head where the part has them.
struct TensorRule {
  Part part;
  std::string_view role;
  std::int64_t rows, cols;
  std::vector<Spelling> spellings;  ///< the released one first
  bool is_optional = false;
};

/// The table for a model of these dimensions.
std::vector<TensorRule> tensor_rules(const ModelArgs& args);

/// A tensor of the released checkpoint.
struct ReleasedTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::string_view role;
  int layer = -1;  ///< -1 = outside the layers
};

/// All tensors of the released checkpoint in the order of the layers (48B: 20,493).
std::vector<ReleasedTensor> released_tensors(const ModelArgs& args);

/// How much a checkpoint in the released naming holds; exact below 2^53.
struct ReleasedSize {
  double parameters = 0;
  double tensors = 0;
};

/// Computed without listing the tensors (48B: 49,122,681,728 parameters in 20,493 tensors).
ReleasedSize released_size(const ModelArgs& args);

/// The same for one layer.
ReleasedSize released_layer_size(const ModelArgs& args, int layer);

/// Does layer `layer` have tensors of this part?  True for parts outside the layers.
bool layer_has_part(const ModelArgs& args, int layer, Part part);

/// Full name: layer and expert put in.
std::string tensor_name(const Spelling& spelling, Part part, int layer, std::int64_t expert);

}  // namespace kl
