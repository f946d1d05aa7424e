#include "config/quantization_config.h"

#include <fmt/format.h>

#include <string>

#include "encodings/compressed_tensors.h"
#include "encodings/ggml.h"
#include "encodings/mlx.h"
#include "kl/gguf.h"
#include "packing/packed_name.h"

namespace kl {
namespace {

/// A block that says something: no null, no false, no empty object.
const Json* find_block(const Json& config, std::string_view name, Problems& problems) {
  const Json* block = config.find(name);
  if (block == nullptr || block->is_null() || block->boolean() == false) return nullptr;
  if (block->object() == nullptr) {
    problems.add(fmt::format("{}: expected an object, got {}", name, block->describe()));
    return nullptr;
  }
  return block->object()->empty() ? nullptr : block;
}

void check_version(const Json& block, Problems& problems) {
  const Json* version = block.find("version");
  if (version && version->number().value_or(0) > kPackedVersion) {
    problems.add(
        ErrorCode::kUnsupported,
        fmt::format("quantization_config.version: expected at most {}, got {}: a newer kl packed these weights",
                    kPackedVersion, version->describe()));
  }
}

}  // namespace

std::unique_ptr<const Encoding> read_encoding(const Json& config, Problems& problems) {
  // mlx-lm writes its block under both names and reads the first.
  if (const Json* block = find_block(config, "quantization", problems))
    return std::make_unique<MlxEncoding>(*block, "quantization", problems);
  const Json* block = find_block(config, "quantization_config", problems);
  if (block == nullptr) return nullptr;
  const Json* method = block->find("quant_method");
  if (method == nullptr || method->is_null())
    return std::make_unique<MlxEncoding>(*block, "quantization_config", problems);
  if (method->string() != nullptr && *method->string() == "kl") {
    check_version(*block, problems);
    return nullptr;
  }
  if (method->string() != nullptr && *method->string() == "compressed-tensors")
    return std::make_unique<CompressedTensorsEncoding>(*block, problems);
  problems.add(ErrorCode::kUnsupported,
               "quantization_config.quant_method: expected kl or compressed-tensors, got " + method->describe());
  return nullptr;
}

std::unique_ptr<const Encoding> load_encoding(const std::filesystem::path& dir) {
  if (is_gguf(dir)) return std::make_unique<GgmlEncoding>();
  Problems problems;
  const std::filesystem::path path = dir / "config.json";
  auto encoding = read_encoding(Json::load(path, 16u << 20), problems);
  problems.throw_if_any(path.string());
  return encoding;
}

}  // namespace kl
