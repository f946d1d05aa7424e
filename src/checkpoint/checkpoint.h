#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/problems.h"
#include "kl/safetensors.h"

namespace kl {

/// All tensors of a model folder, or of a GGUF model, by the names its files give them, whatever files they lie in.
///
/// With model.safetensors.index.json the shards it names are opened and must agree with it exactly; without,
/// model.safetensors or else every model*.safetensors.  Files may be symbolic links (as in the Hugging Face cache),
/// shard names may not be paths.
class Checkpoint {
 public:
  struct Tensor {
    FileTensor data;
    std::size_t shard = 0;  ///< index into shards()
  };
  struct Shard {
    std::string name;  ///< the path
    std::size_t bytes = 0, num_tensors = 0;
    std::shared_ptr<const void> file;  ///< keeps the mapping
  };

  /// Throws Error with every problem of every file.  kNotFound if there is no folder or no model file, else kCorrupt, or
  /// kUnsupported for a GGUF file of another version.
  static std::shared_ptr<const Checkpoint> open(const std::filesystem::path& dir);

  /// As open(), but what is wrong goes to `problems` and whatever could be read is kept: for `kl inspect`.
  static std::shared_ptr<const Checkpoint> open(const std::filesystem::path& dir, Problems& problems);

  const std::string& name() const { return name_; }  ///< the folder or file, for messages
  bool is_gguf() const { return is_gguf_; }          ///< then dtypes are ggml's and shapes the slowest dimension first
  const std::vector<Shard>& shards() const { return shards_; }
  const std::map<std::string, Tensor, std::less<>>& tensors() const { return tensors_; }
  std::size_t bytes() const;  ///< of all tensors

 private:
  Checkpoint() = default;
  void add_shard(const std::filesystem::path& path, Problems& problems);
  void open_indexed(const std::filesystem::path& dir, const std::filesystem::path& index, Problems& problems);
  void open_unindexed(const std::filesystem::path& dir, Problems& problems);
  void open_gguf(const std::filesystem::path& path, Problems& problems);

  std::string name_;
  bool is_gguf_ = false;
  std::vector<Shard> shards_;
  std::map<std::string, Tensor, std::less<>> tensors_;
};

}  // namespace kl
