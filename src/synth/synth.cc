#include "kl/synth.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/dtype.h"
#include "base/output_file.h"
#include "base/random.h"
#include "base/read_file.h"
#include "config/tensor_table.h"
#include "folder/model_folder.h"
#include "kl/error.h"
#include "kl/safetensors.h"
#include "packing/packed_name.h"
#include "packing/predicates.h"
#include "synth/byte_tokenizer.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kChunk = 1 << 18;  // elements made at a time

// --- random numbers --------------------------------------------------------------------------------------------------

/// xoshiro256+.  Seeded by the tensor's name, so a tensor's values do not depend on which others exist.
class Random {
 public:
  Random(std::uint64_t seed, std::string_view name) {
    std::uint64_t hash = 0xcbf29ce484222325u ^ seed;
    for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    for (std::uint64_t& word : s_) word = splitmix64(hash += kGoldenRatio64);
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

// --- writing ---------------------------------------------------------------------------------------------------------

/// The dtype of the released checkpoint: the decay's parameters are f32 whatever the rest is.
std::string dtype_of(const ReleasedTensor& tensor, const std::string& dtype) {
  return tensor.role == "kda.A_log" || tensor.role == "kda.dt_bias" ? "F32" : dtype;
}

/// A tensor to make.
struct MadeTensor {
  TensorSpec spec;
  Spread spread;
  std::int64_t elements = 1;
  std::optional<PackedFormat> format;  // if packed
  std::int64_t bytes() const {
    if (!format) return elements * safetensors_dtype_bits(spec.dtype) / 8;
    std::int64_t n = 1;
    for (const std::int64_t dim : spec.shape) n *= dim;
    return n;
  }
};

/// The tensors of the folder: the released ones, or what kl quantize would make of them.
std::vector<MadeTensor> tensors_to_make(const ModelArgs& args, const SynthOptions& options, const std::string& dtype) {
  std::vector<MadeTensor> made;
  const QuantRule base{options.bits, options.group_size};
  const auto add = [&](const ReleasedTensor& tensor, const std::string& name, std::vector<std::int64_t> shape) {
    MadeTensor out{{name, dtype_of(tensor, dtype), shape}, spread_of(tensor, args), 1, {}};
    for (const std::int64_t dim : shape) out.elements *= dim;
    const auto rank = static_cast<int>(shape.size());
    const bool is_matrix = rank == 2 || name.ends_with("embed_q.weight") || name.ends_with("unembed_out.weight");
    const auto rule = options.bits > 0 && is_matrix ? quant_predicate(name, rank, shape.back(), base) : std::nullopt;
    if (rule) {
      out.format = packed_format(*rule);
      const std::string module = name.substr(0, name.size() - std::string_view("weight").size());
      out.spec = {module + packed_suffix(*out.format), "U8",
                  packed_shape(*out.format, rank == 3 ? shape[0] : 1, shape[shape.size() - 2], shape.back())};
    }
    made.push_back(std::move(out));
  };
  for (const ReleasedTensor& tensor : released_tensors(args)) {
    if (options.bits > 0 && tensor.role == "mla.w_uk") {  // kv_b_proj: packed as its halves
      const std::string attention = tensor.name.substr(0, tensor.name.find("kv_b_proj"));
      const std::int64_t H = args.num_attention_heads, R = args.kv_lora_rank;
      add(tensor, attention + "embed_q.weight", {H, R, args.qk_nope_head_dim});
      add(tensor, attention + "unembed_out.weight", {H, args.v_head_dim, R});
    } else {
      add(tensor, tensor.name, tensor.shape);
    }
  }
  // Packed tensors first, as kl quantize orders them: they begin on cache lines then.
  std::stable_partition(made.begin(), made.end(), [](const MadeTensor& t) { return t.format.has_value(); });
  return made;
}

/// Makes tensors one after the other and hands them to the writer in pieces.
class TensorMaker {
 public:
  TensorMaker(const SynthOptions& options, std::int64_t total_bytes)
      : options_(options), total_bytes_(total_bytes), values_(kChunk), bytes_(4 * kChunk) {}

  void write(const MadeTensor& tensor, SafetensorsWriter& writer) {
    Random random(options_.seed, tensor.spec.name);
    if (tensor.format) return write_packed(tensor, random, writer);
    for (std::int64_t left = tensor.elements; left > 0;) {
      const std::size_t n = std::min(kChunk, static_cast<std::size_t>(left));
      fill(tensor.spread, random, values_.data(), n);
      put(narrow(tensor.spec.dtype, n), writer);
      left -= static_cast<std::int64_t>(n);
    }
  }

 private:
  /// Turns quants 0 into middle ones: those of a format without minimum would have a mean below zero else, and a mean that
  /// all weights share grows from layer to layer until every token looks the same.
  static std::uint64_t without_lowest(std::uint64_t quants, int bits) {
    const std::uint64_t mask = (1u << bits) - 1, middle = 1u << (bits - 1);
    for (int at = 0; at < 64; at += bits) {
      if ((quants >> at & mask) == 0) quants |= middle << at;
    }
    return quants;
  }

  /// Quants uniform over their range, scales such that the weights have the deviation of their matrix.
  void write_packed(const MadeTensor& tensor, Random& random, SafetensorsWriter& writer) {
    const PackedFormat& f = *tensor.format;
    const double levels = std::ldexp(1.0, f.bits),
                 odd = levels - 1;  // uniform over 2^n levels, or 2^n - 1 and the middle
    const double variance = f.has_minimum ? (levels * levels - 1) / 12 : (odd * odd - 1) / 12 * odd / levels;
    const double deviation_of_quants = std::sqrt(variance);
    const auto scale = static_cast<float>(tensor.spread.deviation / deviation_of_quants);
    const std::uint16_t half = f32_to_f16(scale), minimum = f32_to_f16(-scale * static_cast<float>((levels - 1) / 2));
    const auto tile = static_cast<std::size_t>(f.tile_bytes()), quants = static_cast<std::size_t>(f.quant_bytes());
    const auto scales = quants + static_cast<std::size_t>(f.scales_bytes());
    const std::size_t at_once = bytes_.size() / tile;
    for (std::int64_t left = tensor.bytes() / f.tile_bytes(); left > 0;) {
      const std::size_t n = std::min(at_once, static_cast<std::size_t>(left));
      for (std::size_t t = 0; t < n; ++t) {
        std::byte* p = bytes_.data() + t * tile;
        for (std::size_t i = 0; i < quants; i += 8) {
          const std::uint64_t bits = f.has_minimum ? random.bits() : without_lowest(random.bits(), f.bits);
          std::memcpy(p + i, &bits, 8);
        }
        for (std::size_t i = quants; i < tile; i += 2) std::memcpy(p + i, i < scales ? &half : &minimum, 2);
      }
      put(n * tile, writer);
      left -= static_cast<std::int64_t>(n);
    }
  }

  void put(std::size_t bytes, SafetensorsWriter& writer) {
    writer.write(bytes_.data(), bytes);
    done_bytes_ += static_cast<std::int64_t>(bytes);
    if (options_.progress && done_bytes_ >= next_report_) {
      options_.progress("writing", done_bytes_, total_bytes_);
      next_report_ = done_bytes_ + (8 << 20);
    }
  }

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

  const SynthOptions& options_;
  std::int64_t total_bytes_;
  std::int64_t done_bytes_ = 0;
  std::int64_t next_report_ = 0;
  std::vector<float> values_;
  std::vector<std::byte> bytes_;
};

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
  const std::vector<MadeTensor> tensors = tensors_to_make(args, options, std::string(names.file));

  SynthResult result;
  std::vector<std::int64_t> bytes;
  std::vector<std::string> tensor_names;
  for (const MadeTensor& tensor : tensors) {
    bytes.push_back(tensor.bytes());
    tensor_names.push_back(tensor.spec.name);
    result.parameters += tensor.elements;
    result.tensor_bytes += bytes.back();
  }
  result.tensors = static_cast<std::int64_t>(tensors.size());
  const std::vector<Shard> shards = cut_shards(bytes, options.max_shard_bytes);
  result.files = static_cast<int>(shards.size());

  OutputFolder folder(dir);
  folder.require_space(result.tensor_bytes);
  ModelArgs written = args;
  written.dtype = names.config;
  const bool is_packed = options.bits > 0;
  write_file(folder.add("config.json"),
             is_packed ? packed_config_json(written, {options.bits, options.group_size}) : written.to_json());
  write_file(folder.add("generation_config.json"), generation_config_json(args));
  if (!options.tokenizer.empty()) {
    write_file(folder.add("tiktoken.model"), tokenizer);
  } else if (args.vocab_size >= kByteTokenizerIds) {
    write_file(folder.add("tiktoken.model"), byte_tokenizer_ranks());
    write_file(folder.add("tokenizer_config.json"), byte_tokenizer_config());
  }

  TensorMaker maker(options, result.tensor_bytes);
  for (const Shard& shard : shards) {
    std::vector<TensorSpec> specs;
    for (std::size_t i = shard.first; i < shard.last; ++i) specs.push_back(tensors[i].spec);
    SafetensorsWriter writer(folder.add(shard.file), std::move(specs), {{"format", "pt"}});
    for (std::size_t i = shard.first; i < shard.last; ++i) maker.write(tensors[i], writer);
    writer.finish();
  }
  // Last, so that a folder with shards but without its index is visibly incomplete.
  if (shards.size() > 1) {
    write_file(folder.add("model.safetensors.index.json"),
               index_json(tensor_names, shards, result.tensor_bytes, result.parameters));
  }
  if (options.progress) options.progress("writing", result.tensor_bytes, result.tensor_bytes);
  folder.keep();
  return result;
}

}  // namespace kl
