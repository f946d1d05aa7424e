#include "folder/model_folder.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <system_error>

#include "kl/error.h"
#include "packing/packed_name.h"

namespace kl {

namespace fs = std::filesystem;

std::vector<Shard> cut_shards(const std::vector<std::int64_t>& bytes, std::int64_t max_bytes) {
  std::vector<Shard> shards{{}};
  std::int64_t size = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (size > 0 && size + bytes[i] > max_bytes) {
      shards.push_back({i, i, {}});
      size = 0;
    }
    size += bytes[i];
    shards.back().last = i + 1;
  }
  for (std::size_t s = 0; s < shards.size(); ++s) {
    shards[s].file = shards.size() == 1 ? "model.safetensors"
                                        : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
  }
  return shards;
}

std::string index_json(const std::vector<std::string>& names, const std::vector<Shard>& shards, std::int64_t total_size,
                       std::int64_t total_parameters) {
  nlohmann::json index;
  index["metadata"] = {{"total_size", total_size}, {"total_parameters", total_parameters}};
  for (const Shard& shard : shards) {
    for (std::size_t i = shard.first; i < shard.last; ++i) index["weight_map"][names[i]] = shard.file;
  }
  return index.dump(2) + "\n";
}

std::string packed_config_json(const ModelArgs& args, const QuantRule& rule, const std::vector<PathSetting>& settings) {
  auto json = nlohmann::ordered_json::parse(args.to_json());
  json["quantization_config"] = {
      {"quant_method", "kl"}, {"version", kPackedVersion}, {"bits", rule.bits}, {"group_size", rule.group_size}};
  for (const auto& [module, own] : settings) {
    auto& entry = json["quantization_config"][module];
    if (own) {
      entry = {{"group_size", own->group_size}, {"bits", own->bits}};
    } else {
      entry = false;
    }
  }
  return json.dump(2) + "\n";
}

OutputFolder::OutputFolder(const fs::path& dir) : dir_(dir) {
  std::error_code error;
  for (fs::path missing = dir; !missing.empty() && !fs::exists(missing, error); missing = missing.parent_path()) {
    created_.push_back(missing);
  }
  if (!created_.empty()) fs::create_directories(dir, error);
  if (!error && (!fs::is_directory(dir, error) || !fs::is_empty(dir, error))) {
    throw Error(ErrorCode::kCannotWrite, dir.string() + ": expected a new or empty folder, got one in use");
  }
  if (!error) return;
  take_back();
  throw Error(ErrorCode::kCannotWrite,
              fmt::format("{}: expected to make a folder, got {}", dir.string(), error.message()));
}

OutputFolder::~OutputFolder() {
  if (!is_kept_) take_back();
}

void OutputFolder::take_back() {
  std::error_code ignored;
  for (const std::string& file : files_) fs::remove(dir_ / file, ignored);
  for (const fs::path& folder : created_) fs::remove(folder, ignored);
}

void OutputFolder::require_space(std::int64_t bytes) const {
  std::error_code error;
  const fs::space_info space = fs::space(dir_, error);
  if (!error && space.available < static_cast<std::uintmax_t>(bytes)) {
    throw Error(ErrorCode::kCannotWrite,
                fmt::format("{}: expected {} bytes of free space, got {}", dir_.string(), bytes, space.available));
  }
}

fs::path OutputFolder::add(const std::string& file) {
  files_.push_back(file);
  return dir_ / file;
}

}  // namespace kl
