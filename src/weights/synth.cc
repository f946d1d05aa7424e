#include "kl/synth.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/dtype.h"
#include "base/output_file.h"
#include "base/read_file.h"
#include "kl/error.h"
#include "kl/safetensors.h"
#include "weights/byte_tokenizer.h"
#include "weights/tensor_table.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kChunk = 1 << 18;  // elements made at a time

// --- random numbers --------------------------------------------------------------------------------------------------

/// Steele, Lea, Flood 2014: here it only makes the seeds of Random.
std::uint64_t splitmix64(std::uint64_t& state) {
  std::uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/// xoshiro256+.  Seeded by the tensor's name, so a tensor's values do not depend on which others exist.
class Random {
 public:
  Random(std::uint64_t seed, std::string_view name) {
    std::uint64_t hash = 0xcbf29ce484222325u ^ seed;
    for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    for (std::uint64_t& word : s_) word = splitmix64(hash);
  }

  std::uint64_t bits() {
    const std::uint64_t result = s_[0] + s_[3], t = s_[1] << 17;
    s_[2] ^= s_[0];
    s_[3] ^= s_[1];
    s_[1] ^= s_[2];
    s_[0] ^= s_[3];
    s_[2] ^= t;
    s_[3] = std::rotl(s_[3], 45);
    return result;
  }

  /// In [0, 1).
  float uniform() { return static_cast<float>(bits() >> 40) * 0x1p-24f; }

  /// Nearly normal, mean 0, variance 1, within +-3.5: the sum of four uniform 16-bit numbers (Irwin-Hall).
  float normal() {
    constexpr float kMean = 2 * 65535.0f, kInverseDeviation = 1.0f / 37836.9f;  // deviation = 65536 / sqrt(3)
    const std::uint64_t r = bits();
    const auto sum = static_cast<std::int32_t>((r & 0xffff) + (r >> 16 & 0xffff) + (r >> 32 & 0xffff) + (r >> 48));
    return (static_cast<float>(sum) - kMean) * kInverseDeviation;
  }

 private:
  std::array<std::uint64_t, 4> s_{};
};

// --- healthy values --------------------------------------------------------------------------------------------------

/// How the values of a tensor are spread.
struct Spread {
  enum Kind { kNormal, kNearOne, kALog, kDtBias } kind = kNormal;
  double deviation = 1;
};

/// A matrix [rows, cols] with deviation cols^-1/2 keeps the size of what it multiplies.  What is added to the residual
/// stream is smaller by sqrt(2 L), so that L layers with two additions each add up to the size of the embedding.
Spread spread_of(const ReleasedTensor& tensor, const ModelArgs& args) {
  const std::string_view role = tensor.role;
  const double fan_in = 1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(tensor.shape.back(), 1)));
  if (role == "embed_tokens") return {Spread::kNormal, args.tie_word_embeddings ? 2 * fan_in : 1.0};
  if (role == "lm_head") return {Spread::kNormal, 2 * fan_in};
  if (role == "kda.A_log") return {Spread::kALog};
  if (role == "kda.dt_bias") return {Spread::kDtBias};
  if (role == "moe.correction_bias") return {Spread::kNormal, 0.01};
  if (role.ends_with("norm")) return {Spread::kNearOne};
  const bool is_residual = role.ends_with("o_proj") || role.ends_with("down_proj");
  return {Spread::kNormal, is_residual ? fan_in / std::sqrt(2.0 * args.num_hidden_layers) : fan_in};
}

/// n values of this spread.
void fill(const Spread& spread, Random& random, float* out, std::size_t n) {
  const auto deviation = static_cast<float>(spread.deviation);
  switch (spread.kind) {
    case Spread::kNormal:
      for (std::size_t i = 0; i < n; ++i) out[i] = deviation * random.normal();
      break;
    case Spread::kNearOne:
      for (std::size_t i = 0; i < n; ++i) out[i] = 0.9f + 0.2f * random.uniform();
      break;
    case Spread::kALog:  // as the released model was initialised: A uniform in [1, 16]
      for (std::size_t i = 0; i < n; ++i) out[i] = std::log(1.0f + 15.0f * random.uniform());
      break;
    case Spread::kDtBias:  // softplus(dt_bias) log-uniform in [1e-3, 1e-1]: ln(e^dt - 1) inverts softplus
      for (std::size_t i = 0; i < n; ++i) {
        const double dt = std::exp(std::log(1e-3) + random.uniform() * std::log(100.0));
        out[i] = static_cast<float>(std::log(std::expm1(dt)));
      }
      break;
  }
}

/// f32 to IEEE half, round to nearest even; values here are far from its limits.
std::uint16_t f32_to_f16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  const float magnitude = std::bit_cast<float>(bits & 0x7fffffffu);
  if (magnitude < 0x1p-14f) return static_cast<std::uint16_t>(sign | std::lrint(magnitude * 0x1p24f));  // subnormal
  const std::uint32_t rounded = (bits & 0x7fffffffu) + 0xfffu + (bits >> 13 & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

// --- writing ---------------------------------------------------------------------------------------------------------

/// The dtype of the released checkpoint: the decay's parameters are f32 whatever the rest is.
std::string dtype_of(const ReleasedTensor& tensor, const std::string& dtype) {
  return tensor.role == "kda.A_log" || tensor.role == "kda.dt_bias" ? "F32" : dtype;
}

std::int64_t elements_of(const ReleasedTensor& tensor) {
  std::int64_t n = 1;
  for (const std::int64_t dim : tensor.shape) n *= dim;
  return n;
}

/// A run of tensors that share a file.
struct Shard {
  std::size_t first = 0, last = 0;  // of released_tensors()
  std::string file;
};

/// Cuts tensors of these sizes into files of at most max_bytes; a larger tensor has a file of its own.
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

/// The folder being filled; takes everything back unless keep() is called.
class OutputFolder {
 public:
  explicit OutputFolder(const fs::path& dir) : dir_(dir) {
    std::error_code error;
    is_new_ = !fs::exists(dir, error);
    if (is_new_) fs::create_directories(dir, error);
    if (!error && (!fs::is_directory(dir, error) || !fs::is_empty(dir, error))) {
      throw Error(ErrorCode::kCannotWrite, dir.string() + ": expected a new or empty folder, got one in use");
    }
    if (error) {
      throw Error(ErrorCode::kCannotWrite,
                  fmt::format("{}: expected to make a folder, got {}", dir.string(), error.message()));
    }
  }
  ~OutputFolder() {
    if (is_kept_) return;
    std::error_code ignored;
    for (const std::string& file : files_) fs::remove(dir_ / file, ignored);
    if (is_new_) fs::remove(dir_, ignored);
  }
  OutputFolder(const OutputFolder&) = delete;

  /// The path of a file that belongs to the folder's contents.
  fs::path add(const std::string& file) {
    files_.push_back(file);
    return dir_ / file;
  }
  void keep() { is_kept_ = true; }

 private:
  fs::path dir_;
  std::vector<std::string> files_;
  bool is_new_ = false;
  bool is_kept_ = false;
};

/// Throws Error(kCannotWrite) if the disk has less room than that.
void require_space(const fs::path& dir, std::int64_t bytes) {
  std::error_code error;
  const fs::space_info space = fs::space(dir, error);
  if (!error && space.available < static_cast<std::uintmax_t>(bytes)) {
    throw Error(ErrorCode::kCannotWrite,
                fmt::format("{}: expected {} bytes of free space, got {}", dir.string(), bytes, space.available));
  }
}

/// Makes tensors one after the other and hands them to the writer in pieces.
class TensorMaker {
 public:
  TensorMaker(const ModelArgs& args, const SynthOptions& options, std::int64_t total_bytes)
      : args_(args), options_(options), total_bytes_(total_bytes), values_(kChunk), bytes_(4 * kChunk) {}

  void write(const ReleasedTensor& tensor, const std::string& dtype, SafetensorsWriter& writer) {
    Random random(options_.seed, tensor.name);
    const Spread spread = spread_of(tensor, args_);
    for (std::int64_t left = elements_of(tensor); left > 0;) {
      const std::size_t n = std::min(kChunk, static_cast<std::size_t>(left));
      fill(spread, random, values_.data(), n);
      const std::size_t bytes = narrow(dtype, n);
      writer.write(bytes_.data(), bytes);
      left -= static_cast<std::int64_t>(n);
      done_bytes_ += static_cast<std::int64_t>(bytes);
      if (options_.progress && done_bytes_ >= next_report_) {
        options_.progress(done_bytes_, total_bytes_);
        next_report_ = done_bytes_ + (8 << 20);
      }
    }
  }

 private:
  /// Converts n values to the bytes of the file; answers how many.
  std::size_t narrow(const std::string& dtype, std::size_t n) {
    if (dtype == "F32") {
      std::memcpy(bytes_.data(), values_.data(), 4 * n);
      return 4 * n;
    }
    const auto store = [&](std::size_t i, std::uint16_t half) { std::memcpy(bytes_.data() + 2 * i, &half, 2); };
    if (dtype == "BF16") {
      for (std::size_t i = 0; i < n; ++i) store(i, f32_to_bf16(values_[i]));
    } else {
      for (std::size_t i = 0; i < n; ++i) store(i, f32_to_f16(values_[i]));
    }
    return 2 * n;
  }

  const ModelArgs& args_;
  const SynthOptions& options_;
  std::int64_t total_bytes_;
  std::int64_t done_bytes_ = 0;
  std::int64_t next_report_ = 0;
  std::vector<float> values_;
  std::vector<std::byte> bytes_;
};

std::string index_json(const std::vector<ReleasedTensor>& tensors, const std::vector<Shard>& shards,
                       const SynthResult& result) {
  nlohmann::json index;
  index["metadata"] = {{"total_size", result.tensor_bytes}, {"total_parameters", result.parameters}};
  for (const Shard& shard : shards) {
    for (std::size_t i = shard.first; i < shard.last; ++i) index["weight_map"][tensors[i].name] = shard.file;
  }
  return index.dump(2) + "\n";
}

std::string generation_config_json(const ModelArgs& args) {
  nlohmann::ordered_json json;
  if (args.bos_token_id >= 0) json["bos_token_id"] = args.bos_token_id;
  if (!args.eos_token_ids.empty()) json["eos_token_id"] = args.eos_token_ids;
  if (args.pad_token_id >= 0) json["pad_token_id"] = args.pad_token_id;
  return (json.is_null() ? "{}" : json.dump(2)) + "\n";
}

/// One element type in the three places that name it.
struct DTypeNames {
  std::string_view option, file, config;
};
constexpr DTypeNames kDTypes[] = {{"bf16", "BF16", "bfloat16"}, {"f16", "F16", "float16"}, {"f32", "F32", "float32"}};

const DTypeNames& dtype_names(const std::string& option) {
  for (const DTypeNames& names : kDTypes) {
    if (names.option == option) return names;
  }
  throw Error(ErrorCode::kInvalidArgument, fmt::format("dtype: expected bf16, f16 or f32, got {}", option));
}

}  // namespace

SynthResult synthesize(const ModelArgs& args, const fs::path& dir, const SynthOptions& options) {
  const DTypeNames& names = dtype_names(options.dtype);
  const std::string tokenizer = options.tokenizer.empty() ? "" : read_file(options.tokenizer, 256u << 20);
  const std::vector<ReleasedTensor> tensors = released_tensors(args);

  SynthResult result;
  std::vector<std::int64_t> bytes;
  for (const ReleasedTensor& tensor : tensors) {
    const int bits = safetensors_dtype_bits(dtype_of(tensor, std::string(names.file)));
    bytes.push_back(elements_of(tensor) * bits / 8);
    result.parameters += elements_of(tensor);
    result.tensor_bytes += bytes.back();
  }
  result.tensors = static_cast<std::int64_t>(tensors.size());
  const std::vector<Shard> shards = cut_shards(bytes, options.max_shard_bytes);
  result.files = static_cast<int>(shards.size());

  OutputFolder folder(dir);
  require_space(dir, result.tensor_bytes);
  ModelArgs written = args;
  written.dtype = names.config;
  write_file(folder.add("config.json"), written.to_json());
  write_file(folder.add("generation_config.json"), generation_config_json(args));
  if (!options.tokenizer.empty()) {
    write_file(folder.add("tiktoken.model"), tokenizer);
  } else if (args.vocab_size >= kByteTokenizerIds) {
    write_file(folder.add("tiktoken.model"), byte_tokenizer_ranks());
    write_file(folder.add("tokenizer_config.json"), byte_tokenizer_config());
  }

  TensorMaker maker(args, options, result.tensor_bytes);
  for (const Shard& shard : shards) {
    std::vector<TensorSpec> specs;
    for (std::size_t i = shard.first; i < shard.last; ++i) {
      specs.push_back({tensors[i].name, dtype_of(tensors[i], std::string(names.file)), tensors[i].shape});
    }
    const std::vector<TensorSpec> declared = specs;
    SafetensorsWriter writer(folder.add(shard.file), std::move(specs), {{"format", "pt"}});
    for (std::size_t i = shard.first; i < shard.last; ++i)
      maker.write(tensors[i], declared[i - shard.first].dtype, writer);
    writer.finish();
  }
  // Last, so that a folder with shards but without its index is visibly incomplete.
  if (shards.size() > 1) write_file(folder.add("model.safetensors.index.json"), index_json(tensors, shards, result));
  if (options.progress) options.progress(result.tensor_bytes, result.tensor_bytes);
  folder.keep();
  return result;
}

}  // namespace kl
