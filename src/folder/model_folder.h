#pragma once
// Writing a model folder: shards, their index, and everything taken back if it cannot be finished.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "kl/model_args.h"
#include "packing/predicates.h"

namespace kl {

/// A run of tensors that share a file.
struct Shard {
  std::size_t first = 0, last = 0;  ///< [first, last) of the folder's tensors
  std::string file;
};

/// Cuts tensors of the given sizes into files of at most `max_bytes` (a larger tensor has a file of its own), named as Hugging
/// Face names them.
std::vector<Shard> cut_shards(const std::vector<std::int64_t>& bytes, std::int64_t max_bytes);

/// model.safetensors.index.json.   Shapes  names: of all tensors, as cut_shards() counted them.
std::string index_json(const std::vector<std::string>& names, const std::vector<Shard>& shards, std::int64_t total_size,
                       std::int64_t total_parameters);

/// What a module has instead of the folder's rule: another one, or no quantisation.
struct PathSetting {
  std::string module;
  std::optional<QuantRule> rule;
};

/// config.json of a folder whose matrices are packed by `rule` but for those of `settings`, each of which becomes an entry
/// "path": {"group_size": g, "bits": b} or "path": false, as mlx-lm writes them.
std::string packed_config_json(const ModelArgs& args, const QuantRule& rule,
                               const std::vector<PathSetting>& settings = {});

/// The folder being filled; takes everything back unless keep() is called.
class OutputFolder {
 public:
  /// Throws Error(kCannotWrite) if the folder is in use or cannot be made.
  explicit OutputFolder(const std::filesystem::path& dir);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  /// Throws Error(kCannotWrite) if the disk has fewer bytes left.
  void require_space(std::int64_t bytes) const;

  /// The path of a file that belongs to the folder's contents.
  std::filesystem::path add(const std::string& file);
  void keep() { is_kept_ = true; }

 private:
  void take_back();

  std::filesystem::path dir_;
  std::vector<std::string> files_;
  std::vector<std::filesystem::path> created_;  // folders, the innermost first
  bool is_kept_ = false;
};

}  // namespace kl
