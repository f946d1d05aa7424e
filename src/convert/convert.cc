#include "kl/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/sha256.h"
#include "convert/conversion.h"
#include "convert/gguf_metadata.h"
#include "convert/model_card.h"
#include "convert/model_output.h"
#include "convert/target_config.h"
#include "convert/tokenizer_texts.h"
#include "folder/model_folder.h"
#include "kl/error.h"
#include "kl/version.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorCode::kInvalidArgument, what); }

template <std::size_t n>
void require_one_of(const char* flag, int value, const int (&allowed)[n], const char* where) {
  if (std::find(std::begin(allowed), std::end(allowed), value) != std::end(allowed)) return;
  refuse(fmt::format("{}: expected {} for {}, got {}", flag, fmt::join(allowed, ", "), where, value));
}

void check_options(const ConvertOptions& options) {
  const std::string& type = options.type;
  const bool is_float = type == "f32" || type == "f16" || type == "bf16", is_gguf = type == "q8_0" || type == "q4_0";
  if (type != "keep" && !is_float && !is_gguf)
    refuse(fmt::format("--type: expected keep, f32, f16, bf16, q8_0 or q4_0, got {}", type));
  if (is_gguf && options.to != TargetFormat::kGguf)
    refuse(fmt::format("--type: expected keep, f32, f16 or bf16 for {}, got {}", name_of(options.to), type));
  if (options.to == TargetFormat::kKl && type != "keep")
    refuse(fmt::format("--type: expected keep for kl, whose folders hold numbers as they are, got {}", type));
  if (options.max_shard_bytes < 1)
    refuse(fmt::format("--shard-size: expected at least 1 byte, got {}", options.max_shard_bytes));
  if (!options.mlx) return;
  if (options.to != TargetFormat::kMlx)
    refuse(fmt::format("--bits, --group-size and --mode: expected with --to mlx, got {}; {}", name_of(options.to),
                       options.to == TargetFormat::kKl     ? "kl quantize writes packed folders"
                       : options.to == TargetFormat::kGguf ? "--type q8_0 and q4_0 quantise GGUF"
                                                           : "hf folders hold no quantised weights"));
  if (options.mlx->is_mxfp4) {
    require_one_of("--bits", options.mlx->bits, {4}, "mxfp4");
    require_one_of("--group-size", options.mlx->group_size, {32}, "mxfp4");
  } else {
    require_one_of("--bits", options.mlx->bits, {2, 3, 4, 5, 6, 8}, "affine");
    require_one_of("--group-size", options.mlx->group_size, {32, 64, 128}, "affine");
  }
}

/// llama.cpp's number of the type that most weights have.
std::uint32_t gguf_file_type(const std::vector<OutputModule>& modules) {
  constexpr std::pair<std::string_view, std::uint32_t> kNumbers[] = {{"F32", 0},  {"F16", 1},  {"Q4_0", 2},
                                                                     {"Q4_1", 3}, {"Q8_0", 7}, {"BF16", 32}};
  std::map<std::string, std::int64_t> weights;
  for (const OutputModule& module : modules) weights[module.tensors.front().spec.dtype] += module.source.size();
  const auto most =
      std::max_element(weights.begin(), weights.end(), [](auto& a, auto& b) { return a.second < b.second; });
  for (const auto& [name, number] : kNumbers)
    if (name == most->first) return number;
  return 0;
}

/// The settings of modules that were chosen otherwise than the rule says, as mlx-lm writes them.
std::vector<PathSetting> own_settings(const std::vector<OutputModule>& modules, const Packing& packing) {
  std::vector<PathSetting> settings;
  for (const OutputModule& module : modules) {
    if (packing.chosen == nullptr || is_vector(*module.source.rule)) continue;
    const std::string path = module_path(module.source.name);
    const auto it = packing.chosen->find(path);
    if (it == packing.chosen->end()) {
      settings.push_back({path, {}});
    } else if (const PackedFormat& f = it->second.format;
               f.bits != packing.rule.bits || f.group != packing.rule.group_size) {
      settings.push_back({path, QuantRule{f.bits, f.group}});
    }
  }
  return settings;
}

/// What makes two runs the same: source files, options and everything that follows from them.
std::string job_of(const SourceModel& source, const ModelOutput& output, const ConvertOptions& options) {
  nlohmann::json job{{"kl", kVersion},
                     {"to", name_of(options.to)},
                     {"type", options.type},
                     {"shard size", options.max_shard_bytes},
                     {"source", nlohmann::json::array()}};
  std::error_code ignored;
  for (const Checkpoint::Shard& shard : source.checkpoint().shards()) {
    job["source"].push_back({fs::weakly_canonical(shard.name, ignored).string(), shard.bytes,
                             fs::last_write_time(shard.name, ignored).time_since_epoch().count()});
  }
  Sha256 hash;
  const auto add = [&](const std::string& text) { hash.update(text.data(), text.size() + 1); };
  for (const OutputModule& module : output.modules) {
    for (const EncodedTensor& tensor : module.tensors) {
      add(tensor.spec.name);
      add(tensor.spec.dtype);
      add(shape_text(tensor.spec.shape));
    }
  }
  for (const FolderText& text : output.texts) add(text.text);
  add(output.config);
  add(output.gguf_keys);
  job["tensors, settings and small files"] = hash.hex();
  return job.dump();
}

}  // namespace

std::string_view name_of(TargetFormat format) {
  constexpr std::string_view kNames[] = {"hf", "mlx", "kl", "gguf"};
  return kNames[static_cast<std::size_t>(format)];
}

void check_folders(const fs::path& from, const fs::path& to) {
  std::error_code ignored;
  const fs::path source = fs::weakly_canonical(from, ignored), target = fs::weakly_canonical(to, ignored);
  if (std::mismatch(source.begin(), source.end(), target.begin(), target.end()).first == source.end()) {
    refuse(
        fmt::format("{}: expected a folder outside {}, got one that is it or lies in it", to.string(), from.string()));
  }
}

ConvertResult convert_model(const fs::path& from, const fs::path& to, const ConvertOptions& options,
                            const Packing* packing) {
  check_options(options);
  check_folders(from, to);
  SourceModel source(from);
  if (options.to == TargetFormat::kGguf) require_gguf_model(source.args(), from.string());

  ModelOutput output;
  const EncoderChoice choice(options, packing);
  for (TargetModule& module : target_modules(source, options.to))
    output.modules.push_back(choice.choose(std::move(module)));
  if (options.to == TargetFormat::kKl) {
    // Packed tensors first: each is whole cache lines, so all of them begin on one and can be used where they lie.
    std::stable_partition(output.modules.begin(), output.modules.end(),
                          [](const OutputModule& m) { return m.encoder->unit() > 1; });
  }
  fs::path folder = fs::absolute(to).lexically_normal();
  if (folder.filename().empty()) folder = folder.parent_path();
  const std::string name = folder.filename().string();
  if (options.to == TargetFormat::kGguf) {
    const auto tokenizer = find_tokenizer(source);
    const GgufMetadata keys = gguf_metadata(
        source.args(),
        {name, gguf_file_type(output.modules), tokenizer ? &*tokenizer : nullptr, find_chat_template(source)});
    output.gguf_keys = keys.bytes();
    output.gguf_key_count = keys.count();
  } else {
    output.texts = tokenizer_texts(source);
    output.config = packing ? packed_config_json(source.args(), packing->rule, own_settings(output.modules, *packing))
                            : target_config(source, output.modules, options);
  }
  output.texts.push_back({"README.md", model_card(source, output.modules, options, name)});
  output.job = job_of(source, output, options);
  return write_model(source, to, output, options);
}

ConvertResult convert(const fs::path& from, const fs::path& to, const ConvertOptions& options) {
  return convert_model(from, to, options, nullptr);
}

}  // namespace kl
