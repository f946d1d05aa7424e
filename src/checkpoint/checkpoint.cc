#include "checkpoint/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "base/json.h"
#include "base/printable.h"
#include "gguf/gguf_file.h"
#include "kl/error.h"
#include "kl/gguf.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxIndexBytes = 64u << 20;
constexpr std::size_t kMaxShards = 10'000;

/// A file name that cannot lead out of its folder.
bool is_plain_shard_name(const std::string& name) {
  const auto is_allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  return name.size() <= 255 && name.size() > 12 && name.front() != '.' && name.ends_with(".safetensors") &&
         std::all_of(name.begin(), name.end(), is_allowed);
}

/// What model.safetensors.index.json says.
struct Index {
  std::map<std::string, std::string> shard_of;  // tensor -> file name
  std::optional<double> total_bytes;
};

/// Reads it as far as it is sound; the rest goes to `problems`.
Index read_index(const fs::path& path, Problems& problems) {
  Index index;
  const Json json = Json::load(path, kMaxIndexBytes);
  const Json* weight_map = json.find("weight_map");
  if (!weight_map || !weight_map->object()) {
    problems.add(fmt::format("{}: weight_map: expected an object, got {}", path.string(),
                             weight_map ? weight_map->describe() : "nothing"));
    return index;
  }
  if (weight_map->object()->empty())
    problems.add(path.string() + ": weight_map: expected tensors, got an empty object");
  for (const auto& [tensor, shard] : *weight_map->object()) {
    if (!shard.string() || !is_plain_shard_name(*shard.string())) {
      problems.add(fmt::format("{}: weight_map: {}: expected the plain name of a .safetensors file, got {}",
                               path.string(), printable(tensor), shard.describe()));
    } else {
      index.shard_of.emplace(tensor, *shard.string());
    }
  }
  const Json* metadata = json.find("metadata");
  if (const Json* total = metadata ? metadata->find("total_size") : nullptr) {
    index.total_bytes = total->number();
    if (!index.total_bytes) {
      problems.add(fmt::format("{}: metadata.total_size: expected a number, got {}", path.string(), total->describe()));
    }
  }
  return index;
}

}  // namespace

std::size_t Checkpoint::bytes() const {
  std::size_t sum = 0;
  for (const auto& [name, tensor] : tensors_) sum += tensor.data.bytes;
  return sum;
}

void Checkpoint::add_shard(const fs::path& path, Problems& problems) {
  std::shared_ptr<const SafetensorsFile> file;
  if (const auto error = problem_of([&] { file = std::make_shared<const SafetensorsFile>(path); }))
    return problems.add(*error);
  shards_.push_back({file->name(), file->bytes(), file->tensors().size(), file});
  for (const auto& [tensor, data] : file->tensors()) {
    const auto [it, is_new] = tensors_.emplace(tensor, Tensor{data, shards_.size() - 1});
    if (!is_new) {
      problems.add(
          fmt::format("{}: tensor {}: also in {}", file->name(), printable(tensor), shards_[it->second.shard].name));
    }
  }
}

void Checkpoint::open_gguf(const fs::path& path, Problems& problems) {
  is_gguf_ = true;
  std::shared_ptr<const GgufFile> file;
  if (const auto error = problem_of([&] { file = GgufFile::open(path); })) return problems.add(*error);
  for (const GgufFile::Part& part : file->parts()) {
    shards_.push_back({part.name, part.bytes, part.num_tensors, part.file});
  }
  for (const auto& [name, tensor] : file->tensors()) {
    tensors_.emplace_hint(
        tensors_.end(), name,
        Tensor{{std::string(tensor.type->name), tensor.shape, tensor.data, tensor.bytes}, tensor.part});
  }
}

void Checkpoint::open_indexed(const fs::path& dir, const fs::path& index_path, Problems& problems) {
  Index index;
  if (const auto error = problem_of([&] { index = read_index(index_path, problems); })) return problems.add(*error);
  std::set<std::string> files;
  for (const auto& [tensor, shard] : index.shard_of) files.insert(shard);
  if (files.size() > kMaxShards) {
    problems.add(fmt::format("{}: weight_map: expected at most {} files, got {}", index_path.string(), kMaxShards,
                             files.size()));
    return;
  }
  const bool is_index_sound = problems.empty();
  for (const std::string& file : files) add_shard(dir / file, problems);
  if (!is_index_sound || shards_.size() != files.size()) return;  // the rest would repeat what is already said

  for (const auto& [tensor, shard] : index.shard_of) {
    const auto it = tensors_.find(tensor);
    if (it == tensors_.end() || shards_[it->second.shard].name != (dir / shard).string()) {
      problems.add(fmt::format("{}: tensor {}: missing, though {} places it there", (dir / shard).string(),
                               printable(tensor), index_path.filename().string()));
    }
  }
  for (const auto& [tensor, found] : tensors_) {
    if (index.shard_of.count(tensor) == 0) {
      problems.add(fmt::format("{}: tensor {}: not listed in {}", shards_[found.shard].name, printable(tensor),
                               index_path.filename().string()));
    }
  }
  if (problems.empty() && index.total_bytes && *index.total_bytes != static_cast<double>(bytes())) {
    problems.add(fmt::format("{}: metadata.total_size: expected {}, the bytes of all tensors, got {}",
                             index_path.string(), bytes(), *index.total_bytes));
  }
}

void Checkpoint::open_unindexed(const fs::path& dir, Problems& problems) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(dir / "model.safetensors", error))) {
    add_shard(dir / "model.safetensors", problems);
    return;
  }
  std::set<std::string> files;
  for (const auto& entry : fs::directory_iterator(dir, error)) {
    const std::string file = entry.path().filename().string();
    if (file.starts_with("model") && is_plain_shard_name(file)) files.insert(file);
  }
  for (const std::string& file : files) add_shard(dir / file, problems);
  if (files.empty()) {
    problems.add(
        ErrorCode::kNotFound,
        fmt::format("{}: expected model.safetensors, model.safetensors.index.json or model-*.safetensors, got {}",
                    dir.string(), error ? error.message() : "none"));
  }
}

std::shared_ptr<const Checkpoint> Checkpoint::open(const fs::path& dir, Problems& problems) {
  const std::shared_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->name_ = dir.string();
  std::error_code error;
  if (kl::is_gguf(dir)) {
    checkpoint->open_gguf(dir, problems);
    return checkpoint;
  }
  if (!fs::is_directory(dir, error)) {
    problems.add(ErrorCode::kNotFound, fmt::format("{}: expected a model folder, got {}", dir.string(),
                                                   fs::exists(dir, error) ? "a file" : "nothing"));
    return checkpoint;
  }
  const fs::path index = dir / "model.safetensors.index.json";
  if (fs::exists(fs::symlink_status(index, error))) {
    checkpoint->open_indexed(dir, index, problems);
  } else {
    checkpoint->open_unindexed(dir, problems);
  }
  return checkpoint;
}

std::shared_ptr<const Checkpoint> Checkpoint::open(const fs::path& dir) {
  Problems problems;
  auto checkpoint = open(dir, problems);
  if (problems.lines().size() == 1) throw Error(problems.code(), problems.lines().front());
  problems.throw_if_any(dir.string());
  return checkpoint;
}

}  // namespace kl
