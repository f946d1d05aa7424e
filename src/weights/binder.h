#pragma once
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "checkpoint/checkpoint.h"
#include "config/tensor_table.h"
#include "encodings/encoding.h"
#include "packing/repack.h"
#include "weights/complaints.h"
#include "weights/sanitize.h"
#include "weights/weights.h"

namespace kl {

/// What the weights point into: the mapped files and the buffers of converted tensors.
struct Storage {
  std::shared_ptr<const Checkpoint> checkpoint;
  std::vector<AlignedBuffer> buffers;
};

/// Takes roles out of the checkpoint one by one and remembers what was used and what was wrong.
///
/// A role is looked for under all its names: packed by `kl quantize`, encoded, plain.  Encoded matrices get their memory at
/// once and their contents in finish().
class Binder : private TensorSource {
 public:
  /// `encoding` may be null.  All must outlive the object.
  Binder(const ModelArgs& args, Storage& storage, ModelWeights& weights, const Encoding* encoding, Binding binding);

  /// [rows, cols] of a role; `index` counts experts or heads.
  WeightMatrix matrix(std::string_view role, int layer, std::int64_t index = 0);

  /// All elements of a role in f32.
  const float* vector(std::string_view role, int layer);

  /// Convolution [C, W] of the file as [W, C] in f32: a vector lane then holds neighbouring channels of one tap.
  const float* taps_first(std::string_view role, int layer);

  /// Converts what is encoded, and reports everything wrong, including tensors nobody asked for.
  void finish(Problems& problems);

 private:
  struct Found {
    const std::byte* data;
    DType type;
    std::size_t bytes;
    bool is_transposed;
    bool is_negated_exp;
    std::string name;  // of the tensor
  };

  const FileTensor* find(const std::string& name) override;
  void complain(ErrorCode code, const std::string& tensor, const std::string& what) override;

  bool bind_packed(const TensorRule& rule, int layer, std::int64_t index, WeightMatrix& m);
  bool bind_encoded(const TensorRule& rule, int layer, std::int64_t index, WeightMatrix& m);
  std::optional<Found> find_plain(const TensorRule& rule, int layer, std::int64_t index);
  const StoredModule& stored_module(const std::string& module, const std::vector<std::int64_t>& shape);
  void complain_missing(const TensorRule& rule, int layer, std::int64_t index);
  void complain_unused();
  bool is_module(std::string_view name);

  const float* logarithms(const Found& found, std::int64_t n);
  void use_in_place(const std::byte* data, std::size_t bytes);
  void* new_buffer(std::size_t bytes);
  float* zeros(std::int64_t n) { return static_cast<float*>(new_buffer(static_cast<std::size_t>(n) * sizeof(float))); }
  const void* transposed(const Found& found, const TensorRule& rule);

  const ModelArgs& args_;
  const Checkpoint& checkpoint_;
  Storage& storage_;
  ModelWeights& weights_;
  const Encoding* encoding_;
  Naming naming_;
  std::map<std::string_view, TensorRule> rules_;
  std::map<std::string, StoredModule> stored_;  // by module; experts and heads share one
  Repacking repacking_;
  std::set<std::string, std::less<>> modules_;  // all names a matrix may have; made when asked for
  std::set<std::string, std::less<>> used_;
  Complaints complaints_;
};

}  // namespace kl
