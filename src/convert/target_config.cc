#include "convert/target_config.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/read_file.h"
#include "folder/model_folder.h"

namespace kl {
namespace {

using nlohmann::ordered_json;

/// What mlx-lm asks of config.json beyond what describes the model.
void add_missing(const ModelArgs& a, ordered_json& config) {
  const auto add = [&](const char* field, const ordered_json& value) {
    if (!config.contains(field) || config[field].is_null()) config[field] = value;
  };
  add("head_dim", a.num_attention_heads > 0 ? a.hidden_size / a.num_attention_heads : 0);
  add("rope_theta", 10000.0);
  add("model_max_length", a.model_max_length > 0 ? a.model_max_length : 1 << 20);
  add("num_attention_heads", a.num_attention_heads);
  add("num_key_value_heads", a.num_attention_heads);
  add("num_experts", a.num_experts);
  add("moe_intermediate_size", a.moe_intermediate_size);
  add("intermediate_size", a.intermediate_size);
  add("kv_lora_rank", a.kv_lora_rank);
}

ordered_json base_config(const SourceModel& source) {
  ordered_json config;
  if (!source.is_gguf())
    config = ordered_json::parse(read_file(source.path() / "config.json", 16u << 20), nullptr, false);
  if (!config.is_object() || !config.contains("linear_attn_config"))
    config = ordered_json::parse(source.args().to_json());
  for (const char* field : {"quantization", "quantization_config", "_name_or_path"}) config.erase(field);
  add_missing(source.args(), config);
  return config;
}

void set_dtype(const std::string& type, ordered_json& config) {
  const char* name = type == "f32" ? "float32" : type == "f16" ? "float16" : type == "bf16" ? "bfloat16" : nullptr;
  if (name == nullptr) return;
  const bool has_old = config.contains("torch_dtype"), has_new = config.contains("dtype");
  if (has_old) config["torch_dtype"] = name;
  if (has_new || !has_old) config["dtype"] = name;
}

/// The settings of most modules, then those of every module that has others.
ordered_json mlx_block(const std::vector<OutputModule>& modules, const ConvertOptions& options) {
  using Key = std::tuple<MlxMode, int, int>;
  const auto key_of = [](const MlxSettings& s) { return Key{s.mode, s.bits, s.group_size}; };
  std::map<Key, int> uses;
  for (const OutputModule& module : modules)
    if (module.mlx) ++uses[key_of(*module.mlx)];
  if (uses.empty()) return nullptr;
  Key general = std::max_element(uses.begin(), uses.end(), [](auto& a, auto& b) { return a.second < b.second; })->first;
  if (options.mlx)
    general = {options.mlx->is_mxfp4 ? MlxMode::kMxfp4 : MlxMode::kAffine, options.mlx->bits, options.mlx->group_size};
  const char* mode = std::get<0>(general) == MlxMode::kMxfp4 ? "mxfp4" : "affine";
  ordered_json block{{"group_size", std::get<2>(general)}, {"bits", std::get<1>(general)}, {"mode", mode}};
  for (const OutputModule& module : modules) {
    if (!module.mlx || (key_of(*module.mlx) == general && module.source.rule->role != "moe.router")) continue;
    const std::string path = module.source.name.substr(0, module.source.name.rfind('.'));
    block[path] = {{"group_size", module.mlx->group_size}, {"bits", module.mlx->bits}};
  }
  return block;
}

/// What `kl quantize` says about its folders; bits and group are those of most modules, each tensor's name has its own.
std::string kl_config(const SourceModel& source, const std::vector<OutputModule>& modules) {
  std::map<std::pair<int, int>, int> uses;
  for (const OutputModule& module : modules)
    if (module.kept) ++uses[{module.kept->bits, module.kept->group}];
  if (uses.empty()) return source.args().to_json();
  const auto most = std::max_element(uses.begin(), uses.end(), [](auto& a, auto& b) { return a.second < b.second; });
  return packed_config_json(source.args(), {most->first.first, most->first.second});
}

}  // namespace

std::string target_config(const SourceModel& source, const std::vector<OutputModule>& modules,
                          const ConvertOptions& options) {
  if (options.to == TargetFormat::kGguf) return {};
  if (options.to == TargetFormat::kKl) return kl_config(source, modules);
  ordered_json config = base_config(source);
  set_dtype(options.type, config);
  if (ordered_json block = mlx_block(modules, options); !block.is_null()) {
    config["quantization"] = block;
    config["quantization_config"] = std::move(block);
  }
  return config.dump(2) + "\n";
}

}  // namespace kl
