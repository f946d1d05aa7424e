#include "convert/model_output.h"

#include <algorithm>
#include <utility>

#include "base/cpu_topology.h"
#include "base/output_file.h"
#include "base/sha256.h"
#include "convert/module_writer.h"
#include "convert/resumable_folder.h"
#include "folder/checksums.h"
#include "folder/model_folder.h"
#include "gguf/gguf_writer.h"
#include "kl/error.h"

namespace kl {
namespace {

constexpr std::int64_t kReportEvery = 4 << 20;  // bytes

class Run {
 public:
  Run(const SourceModel& source, const std::filesystem::path& to, const ModelOutput& output,
      const ConvertOptions& options)
      : output_(output), options_(options), folder_(to, output.job), source_(source) {
    std::vector<std::int64_t> bytes;
    for (const OutputModule& module : output.modules) {
      bytes.push_back(module.bytes());
      result_.tensor_bytes += bytes.back();
    }
    shards_ = cut_shards(bytes, options.max_shard_bytes);
    if (is_gguf()) {
      for (Shard& shard : shards_) shard.file.replace(shard.file.rfind('.'), std::string::npos, ".gguf");
    }
    count();
  }

  ConvertResult run() try {
    std::vector<bool> is_done;
    std::int64_t missing = 0;
    for (const Shard& shard : shards_) {
      is_done.push_back(folder_.has(shard.file));
      result_.resumed_files += is_done.back();
      if (!is_done.back()) missing += bytes_of(shard);
      if (options_.progress) options_.progress("writing", 0, result_.tensor_bytes);
    }
    folder_.require_space(missing);
    ModuleWriter writer(source_, thread_count(options_.threads), [this](std::int64_t bytes) { report(bytes); });
    for (std::size_t i = 0; i < shards_.size(); ++i) {
      if (is_done[i]) {
        report(bytes_of(shards_[i]));
      } else {
        is_gguf() ? write_gguf(i, writer) : write_safetensors(shards_[i], writer);
      }
    }
    for (const OutputModule& module : output_.modules) result_.rounded_weights += module.encoder->rounded();
    write_texts();
    if (options_.progress) options_.progress("writing", result_.tensor_bytes, result_.tensor_bytes);
    folder_.finish();
    return result_;
  } catch (const Error& error) {
    // What is wrong with the numbers will be so the next time.
    if (error.code() != ErrorCode::kCannotWrite && error.code() != ErrorCode::kOutOfMemory) folder_.give_up();
    throw;
  }

 private:
  bool is_gguf() const { return !output_.gguf_keys.empty(); }

  void count() {
    result_.source_bytes = static_cast<std::int64_t>(source_.checkpoint().bytes());
    result_.files = static_cast<int>(shards_.size());
    for (const OutputModule& module : output_.modules) {
      result_.weights += module.source.size();
      if (module.encoder->is_quantising()) result_.quantized_weights += module.source.size();
      if (module.kept) result_.kept_weights += module.source.size();
    }
  }

  std::int64_t bytes_of(const Shard& shard) const {
    std::int64_t sum = 0;
    for (std::size_t i = shard.first; i < shard.last; ++i) sum += output_.modules[i].bytes();
    return sum;
  }

  void report(std::int64_t bytes) {
    done_ += bytes;
    if (!options_.progress || done_ < next_report_) return;
    options_.progress("writing", done_, result_.tensor_bytes);
    next_report_ = done_ + kReportEvery;
  }

  template <class Writer>
  void write_modules(const Shard& shard, ModuleWriter& modules, Writer& file) {
    for (std::size_t i = shard.first; i < shard.last; ++i)
      modules.write(output_.modules[i], [&](const void* data, std::size_t bytes) { file.write(data, bytes); });
    file.finish();
    folder_.record(shard.file, file.sha256());
  }

  void write_safetensors(const Shard& shard, ModuleWriter& modules) {
    std::vector<TensorSpec> specs;
    for (std::size_t i = shard.first; i < shard.last; ++i)
      for (const EncodedTensor& tensor : output_.modules[i].tensors) specs.push_back(tensor.spec);
    const char* format = options_.to == TargetFormat::kHf ? "pt" : options_.to == TargetFormat::kMlx ? "mlx" : "kl";
    SafetensorsWriter file(folder_.add(shard.file), std::move(specs), {{"format", format}}, true);
    write_modules(shard, modules, file);
  }

  /// Metadata are in the first part; parts know their place.
  void write_gguf(std::size_t part, ModuleWriter& modules) {
    const Shard& shard = shards_[part];
    std::vector<GgufTensorSpec> specs;
    for (std::size_t i = shard.first; i < shard.last; ++i)
      for (const EncodedTensor& tensor : output_.modules[i].tensors)
        specs.push_back({tensor.spec.name, find_ggml_type(std::string_view(tensor.spec.dtype)), tensor.spec.shape});
    GgufMetadata metadata;
    if (part == 0) metadata.add_all(output_.gguf_keys, output_.gguf_key_count);
    if (shards_.size() > 1) {
      metadata.add_u16("split.no", static_cast<std::uint16_t>(part));
      metadata.add_u16("split.count", static_cast<std::uint16_t>(shards_.size()));
      metadata.add_i32("split.tensors.count", static_cast<std::int32_t>(output_.modules.size()));
    }
    GgufWriter file(folder_.add(shard.file), metadata, std::move(specs), true);
    write_modules(shard, modules, file);
  }

  /// Everything besides weights, SHA256SUMS and, so that nothing unfinished loads, config.json last.
  void write_texts() {
    std::vector<FolderText> texts = output_.texts;
    if (shards_.size() > 1 && !is_gguf()) texts.push_back({"model.safetensors.index.json", index()});
    std::vector<ChecksumLine> sums;
    for (const auto& [file, digest] : folder_.complete()) sums.push_back({digest, file});
    for (const FolderText& text : texts) {
      write_file(folder_.add(text.file), text.text);
      sums.push_back({sha256_hex(text.text), text.file});
    }
    if (!output_.config.empty()) sums.push_back({sha256_hex(output_.config), "config.json"});
    std::sort(sums.begin(), sums.end(), [](const auto& a, const auto& b) { return a.file < b.file; });
    write_file(folder_.add(kChecksumFile), checksums_text(sums));
    if (!output_.config.empty()) write_file(folder_.add("config.json"), output_.config);
  }

  std::string index() const {
    std::vector<std::string> names;
    std::vector<Shard> shards;  // in tensors
    for (const Shard& shard : shards_) {
      shards.push_back({names.size(), 0, shard.file});
      for (std::size_t i = shard.first; i < shard.last; ++i)
        for (const EncodedTensor& tensor : output_.modules[i].tensors) names.push_back(tensor.spec.name);
      shards.back().last = names.size();
    }
    return index_json(names, shards, result_.tensor_bytes, result_.weights);
  }

  const ModelOutput& output_;
  const ConvertOptions& options_;
  ResumableFolder folder_;
  const SourceModel& source_;
  std::vector<Shard> shards_;
  ConvertResult result_;
  std::int64_t done_ = 0, next_report_ = 0;
};

}  // namespace

ConvertResult write_model(const SourceModel& source, const std::filesystem::path& to, const ModelOutput& output,
                          const ConvertOptions& options) {
  return Run(source, to, output, options).run();
}

}  // namespace kl
