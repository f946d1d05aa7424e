#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "checkpoint/checkpoint.h"
#include "config/tensor_table.h"
#include "convert/source_matrix.h"
#include "encodings/encoding.h"
#include "kl/model_args.h"

namespace kl {

/// A model to be converted: its configuration, and its matrices where they lie.  Nothing is copied or brought into another
/// form, so memory stays small whatever the model's size.
class SourceModel : private TensorSource {
 public:
  /// A folder or GGUF file.  Throws Error as bind_weights() does: every name, type and shape is checked here.
  explicit SourceModel(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const ModelArgs& args() const { return args_; }
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  bool is_gguf() const { return checkpoint_->is_gguf(); }
  const std::vector<TensorRule>& rules() const { return rules_; }

  /// What a rule of rules() needs; `index` counts experts or heads.  With `transposed` its columns as rows.  Zeros where an
  /// optional tensor is missing.
  SourceMatrix find(const TensorRule& rule, int layer, std::int64_t index, bool transposed = false);

  /// Tells the kernel that mapped pages will not be read again soon, so that memory in use stays small.
  void forget_pages() const;

 private:
  const FileTensor* find(const std::string& name) override;
  void complain(ErrorCode code, const std::string& tensor, const std::string& what) override;

  bool find_packed(const TensorRule& rule, int layer, std::int64_t index, SourceMatrix& m) const;
  bool find_stored(const TensorRule& rule, int layer, std::int64_t index, bool transposed, SourceMatrix& m);
  void find_plain(const TensorRule& rule, int layer, std::int64_t index, bool transposed, SourceMatrix& m) const;

  std::filesystem::path path_;
  ModelArgs args_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::unique_ptr<const Encoding> encoding_;  // may be null
  std::vector<TensorRule> rules_;
  std::map<std::string, StoredModule> stored_;  // by module; experts and heads share one
};

/// Is this a vector, or a convolution, whose numbers are one row?
bool is_vector(const TensorRule& rule);

}  // namespace kl
