#include "kl/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/cpu_topology.h"
#include "base/output_file.h"
#include "base/read_file.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "kernels/select.h"
#include "kl/error.h"
#include "kl/model_args.h"
#include "kl/safetensors.h"
#include "weights/model_folder.h"
#include "weights/pack.h"
#include "weights/packed_model.h"
#include "weights/packed_name.h"
#include "weights/predicates.h"
#include "weights/sanitize.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

constexpr std::ptrdiff_t kBlocksAtOnce = 64;  // blocks packed between two writes
constexpr float kLargestWeight = 65504;       // so that an f16 scale never overflows

// Files of a model folder that say nothing about how weights lie.
constexpr const char* kCopiedFiles[] = {
    "tiktoken.model",      "tokenizer_config.json", "generation_config.json", "special_tokens_map.json",
    "chat_template.jinja", "tokenization_kimi.py",  "configuration_kimi.py",  "LICENSE"};

/// What a tensor of the result is made from: matrices (one, or one per head) or numbers.
struct OutputTensor {
  TensorSpec spec;
  std::int64_t bytes = 0;
  std::span<const WeightMatrix> matrices;
  std::optional<PackedFormat> format;    // of packed ones
  const PackedTensor* packed = nullptr;  // what they become, if that is made already
  std::string module = {};
  std::vector<float> numbers;
};

/// Lists the tensors of the result in the order of the layers, in the released names where there are any.
class Lister {
 public:
  /// Modules of `packed`, if given, take what is there; otherwise `base` decides.
  Lister(const ModelArgs& args, QuantRule base, const PackedModel* packed = nullptr)
      : args_(args), base_(base), packed_(packed) {}

  std::vector<OutputTensor> list(const ModelWeights& w) {
    matrix("model.embed_tokens", {&w.embed_tokens, 1});
    for (std::size_t i = 0; i < w.layers.size(); ++i) layer(fmt::format("model.layers.{}.", i), w.layers[i]);
    numbers("model.norm.weight", w.norm, {args_.hidden_size});
    if (!args_.tie_word_embeddings) matrix("lm_head", {&w.lm_head, 1});
    // Packed tensors first: each is whole cache lines, so all of them begin on one and can be used where they lie.
    std::stable_partition(tensors_.begin(), tensors_.end(), [](const OutputTensor& t) { return t.format.has_value(); });
    return std::move(tensors_);
  }

 private:
  void matrix(const std::string& module, std::span<const WeightMatrix> m) {
    const auto count = static_cast<std::int64_t>(m.size()), N = std::int64_t{m[0].N}, K = std::int64_t{m[0].K};
    if (m[0].type == DType::kPacked) {
      throw Error(ErrorCode::kUnsupported, module + ": expected weights that are not quantised yet, got packed ones");
    }
    OutputTensor out{.spec = {}, .bytes = 0, .matrices = m, .format = {}, .module = module, .numbers = {}};
    choose_format(out, K);
    if (out.format) {
      out.spec = {module + "." + packed_suffix(*out.format), "U8", packed_shape(*out.format, count, N, K)};
      out.bytes = count * out.format->matrix_bytes(N, K);
    } else {
      out.spec = {module + ".weight", name_of(m[0].type), {N, K}};
      if (count > 1) out.spec.shape.insert(out.spec.shape.begin(), count);
      out.bytes = count * N * K * static_cast<std::int64_t>(size_of(m[0].type));
    }
    tensors_.push_back(std::move(out));
  }

  void choose_format(OutputTensor& out, std::int64_t K) const {
    if (packed_ != nullptr) {
      const auto it = packed_->find(out.module);
      if (it == packed_->end()) return;
      out.packed = &it->second;
      out.format = it->second.format;
    } else if (const auto rule = quant_predicate(out.module + ".weight", 2, K, base_)) {
      out.format = packed_format(*rule);
    }
  }

  void numbers(const std::string& name, const float* values, std::vector<std::int64_t> shape) {
    std::int64_t n = 1;
    for (const std::int64_t dim : shape) n *= dim;
    OutputTensor out{
        .spec = {name, "F32", std::move(shape)}, .bytes = 4 * n, .matrices = {}, .format = {}, .numbers = {}};
    out.numbers.assign(values, values + n);
    tensors_.push_back(std::move(out));
  }

  /// Back from [W, C] to the file's [C, 1, W].
  void conv(const std::string& name, const float* taps) {
    const std::int64_t C = args_.kda_num_heads * args_.kda_head_dim, W = args_.kda_conv_size;
    std::vector<float> values(static_cast<std::size_t>(C * W));
    for (std::int64_t c = 0; c < C; ++c)
      for (std::int64_t j = 0; j < W; ++j) values[static_cast<std::size_t>(c * W + j)] = taps[j * C + c];
    numbers(name, values.data(), {C, 1, W});
  }

  void mlp(const std::string& p, const MlpWeights& w, const char* gate, const char* up, const char* down) {
    matrix(p + gate, {&w.gate_proj, 1});
    matrix(p + up, {&w.up_proj, 1});
    matrix(p + down, {&w.down_proj, 1});
  }

  void kda(const std::string& p, const KdaWeights& w) {
    matrix(p + "q_proj", {&w.q_proj, 1});
    matrix(p + "k_proj", {&w.k_proj, 1});
    matrix(p + "v_proj", {&w.v_proj, 1});
    matrix(p + "f_a_proj", {&w.f_a_proj, 1});
    matrix(p + "g_a_proj", {&w.g_a_proj, 1});
    matrix(p + "b_proj", {&w.b_proj, 1});
    matrix(p + "f_b_proj", {&w.f_b_proj, 1});
    matrix(p + "g_b_proj", {&w.g_b_proj, 1});
    matrix(p + "o_proj", {&w.o_proj, 1});
    conv(p + "q_conv1d.weight", w.q_conv);
    conv(p + "k_conv1d.weight", w.k_conv);
    conv(p + "v_conv1d.weight", w.v_conv);
    numbers(p + "A_log", w.A_log, {1, 1, args_.kda_num_heads, 1});
    numbers(p + "dt_bias", w.dt_bias, {args_.kda_num_heads * args_.kda_head_dim});
    numbers(p + "o_norm.weight", w.o_norm, {args_.kda_head_dim});
  }

  /// kv_b_proj leaves as the halves mlx-lm writes: the absorbed form reads the keys' half the other way round.
  void mla(const std::string& p, const MlaWeights& w) {
    matrix(p + "q_proj", {&w.q_proj, 1});
    matrix(p + "kv_a_proj_with_mqa", {&w.kv_a_proj, 1});
    numbers(p + "kv_a_layernorm.weight", w.kv_a_norm, {args_.kv_lora_rank});
    matrix(p + "embed_q", w.w_uk);
    matrix(p + "unembed_out", w.w_uv);
    matrix(p + "o_proj", {&w.o_proj, 1});
  }

  void layer(const std::string& p, const LayerWeights& w) {
    numbers(p + "input_layernorm.weight", w.input_norm, {args_.hidden_size});
    if (const auto* k = std::get_if<KdaWeights>(&w.attention)) {
      kda(p + "self_attn.", *k);
    } else {
      mla(p + "self_attn.", std::get<MlaWeights>(w.attention));
    }
    numbers(p + "post_attention_layernorm.weight", w.post_attention_norm, {args_.hidden_size});
    if (const auto* dense = std::get_if<MlpWeights>(&w.feed_forward)) {
      return mlp(p + "mlp.", *dense, "gate_proj", "up_proj", "down_proj");
    }
    const auto& moe = std::get<MoeWeights>(w.feed_forward);
    const std::string block = p + "block_sparse_moe.";
    matrix(block + "gate", {&moe.router, 1});
    numbers(block + "gate.e_score_correction_bias", moe.correction_bias, {args_.num_experts});
    for (std::size_t e = 0; e < moe.experts.size(); ++e)
      mlp(fmt::format("{}experts.{}.", block, e), moe.experts[e], "w1", "w3", "w2");
    if (moe.shared) mlp(block + "shared_experts.", *moe.shared, "gate_proj", "up_proj", "down_proj");
  }

  const ModelArgs& args_;
  QuantRule base_;
  const PackedModel* packed_;
  std::vector<OutputTensor> tensors_;
};

/// Packs and writes tensors, some blocks at a time.
class TensorWriter {
 public:
  TensorWriter(ThreadPool& pool, std::int64_t total, const QuantizeOptions& options)
      : pool_(pool), total_(total), options_(options), rows_(static_cast<std::size_t>(pool.size())) {}

  void write(const OutputTensor& tensor, SafetensorsWriter& writer) {
    if (tensor.matrices.empty()) put(tensor.numbers.data(), tensor.numbers.size() * sizeof(float), writer);
    for (std::size_t i = 0; i < tensor.matrices.size(); ++i) {
      const WeightMatrix& m = tensor.matrices[i];
      if (tensor.packed != nullptr) {
        put(tensor.packed->matrices[i].data(), static_cast<std::size_t>(tensor.format->matrix_bytes(m.N, m.K)), writer);
      } else if (tensor.format) {
        packed(tensor, m, writer);
      } else {
        put(m.data, static_cast<std::size_t>(m.N * m.K) * size_of(m.type), writer);
      }
    }
  }

 private:
  void packed(const OutputTensor& tensor, const WeightMatrix& m, SafetensorsWriter& writer) {
    const auto block_bytes = static_cast<std::size_t>(tensor.format->block_bytes(m.K));
    const std::ptrdiff_t blocks = (m.N + kTileOutputs - 1) / kTileOutputs;
    buffer_.resize(block_bytes * static_cast<std::size_t>(std::min(blocks, kBlocksAtOnce)));
    for (std::vector<float>& rows : rows_) rows.resize(static_cast<std::size_t>(kTileOutputs * m.K));
    for (std::ptrdiff_t first = 0; first < blocks; first += kBlocksAtOnce) {
      const std::ptrdiff_t count = std::min(kBlocksAtOnce, blocks - first);
      std::atomic<bool> is_sound{true};
      pool_.parallel_for(count, [&](std::ptrdiff_t i, int worker) {
        std::vector<float>& rows = rows_[static_cast<std::size_t>(worker)];
        const std::ptrdiff_t n0 = (first + i) * kTileOutputs, n = std::min(kTileOutputs, m.N - n0);
        for (std::ptrdiff_t r = 0; r < n; ++r) kernels_.weight_row(m, n0 + r, rows.data() + r * m.K);
        const auto fits = [](float x) { return std::fabs(x) <= kLargestWeight; };
        if (!std::all_of(rows.begin(), rows.begin() + n * m.K, fits)) {
          is_sound = false;
        } else {
          pack_block(rows.data(), n, m.K, *tensor.format, buffer_.data() + static_cast<std::size_t>(i) * block_bytes);
        }
      });
      if (!is_sound) {
        throw Error(ErrorCode::kCorrupt,
                    fmt::format("{}: expected finite weights up to {}, got others", tensor.spec.name, kLargestWeight));
      }
      put(buffer_.data(), block_bytes * static_cast<std::size_t>(count), writer);
    }
  }

  void put(const void* data, std::size_t bytes, SafetensorsWriter& writer) {
    writer.write(data, bytes);
    done_ += static_cast<std::int64_t>(bytes);
    if (options_.progress && done_ >= next_report_) {
      options_.progress(done_, total_);
      next_report_ = done_ + (4 << 20);
    }
  }

  ThreadPool& pool_;
  const Kernels& kernels_ = *available_kernels().front();
  std::int64_t total_, done_ = 0, next_report_ = 0;
  const QuantizeOptions& options_;
  std::vector<std::vector<float>> rows_;  // [workers] of [16, K]
  std::vector<std::byte> buffer_;
};

void check(const fs::path& from, const fs::path& to, const QuantizeOptions& options) {
  if (options.bits != 4 && options.bits != 8) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("bits: expected 4 or 8, got {}", options.bits));
  }
  if (options.group_size != 32 && options.group_size != 64) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("group size: expected 32 or 64, got {}", options.group_size));
  }
  check_folders(from, to);
}

/// The settings of modules that are not packed as `options` say, as mlx-lm writes them; null if nothing was chosen.
std::vector<PathSetting> settings_of(const std::vector<OutputTensor>& tensors, const PackedModel* packed,
                                     const QuantizeOptions& options) {
  std::vector<PathSetting> settings;
  for (const OutputTensor& t : tensors) {
    if (packed == nullptr || t.matrices.empty()) continue;
    if (!t.format) {
      settings.push_back({t.module, {}});
    } else if (t.format->bits != options.bits || t.format->group != options.group_size) {
      settings.push_back({t.module, QuantRule{t.format->bits, t.format->group}});
    }
  }
  return settings;
}

/// Writes the folder; what becomes of each matrix is in `packed` where that is given.
QuantizeResult write_model(const fs::path& from, const fs::path& to, const QuantizeOptions& options,
                           const PackedModel* packed) {
  const ModelArgs args = ModelArgs::load(from);
  const auto checkpoint = Checkpoint::open(from);
  const ModelWeights weights = bind_weights(args, checkpoint);
  const std::vector<OutputTensor> tensors = Lister(args, {options.bits, options.group_size}, packed).list(weights);

  QuantizeResult result;
  result.source_bytes = static_cast<std::int64_t>(checkpoint->bytes());
  std::vector<std::int64_t> bytes;
  std::vector<std::string> names;
  for (const OutputTensor& tensor : tensors) {
    bytes.push_back(tensor.bytes);
    names.push_back(tensor.spec.name);
    result.tensor_bytes += tensor.bytes;
    for (const WeightMatrix& m : tensor.matrices)
      (tensor.format ? result.packed_weights : result.kept_weights) += m.N * m.K;
    result.kept_weights += static_cast<std::int64_t>(tensor.numbers.size());
  }
  const std::vector<Shard> shards = cut_shards(bytes, options.max_shard_bytes);
  result.files = static_cast<int>(shards.size());

  OutputFolder folder(to);
  folder.require_space(result.tensor_bytes);
  write_file(folder.add("config.json"),
             packed_config_json(args, {options.bits, options.group_size}, settings_of(tensors, packed, options)));
  std::error_code ignored;
  for (const char* file : kCopiedFiles) {
    if (fs::exists(from / file, ignored)) write_file(folder.add(file), read_file(from / file, 256u << 20));
  }
  ThreadPool pool(options.threads > 0 ? options.threads : num_usable_cores());
  TensorWriter writer(pool, result.tensor_bytes, options);
  for (const Shard& shard : shards) {
    std::vector<TensorSpec> specs;
    for (std::size_t i = shard.first; i < shard.last; ++i) specs.push_back(tensors[i].spec);
    SafetensorsWriter file(folder.add(shard.file), std::move(specs), {{"format", "kl"}});
    for (std::size_t i = shard.first; i < shard.last; ++i) writer.write(tensors[i], file);
    file.finish();
  }
  // Last, so that a folder with shards but without its index is visibly incomplete.
  if (shards.size() > 1) {
    write_file(folder.add("model.safetensors.index.json"),
               index_json(names, shards, result.tensor_bytes, result.packed_weights + result.kept_weights));
  }
  if (options.progress) options.progress(result.tensor_bytes, result.tensor_bytes);
  folder.keep();
  return result;
}

}  // namespace

void check_folders(const fs::path& from, const fs::path& to) {
  std::error_code ignored;
  const fs::path source = fs::weakly_canonical(from, ignored), target = fs::weakly_canonical(to, ignored);
  if (std::mismatch(source.begin(), source.end(), target.begin(), target.end()).first == source.end()) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: expected a folder outside {}, got one that is it or lies in it", to.string(), from.string()));
  }
}

std::vector<MatrixModule> matrix_modules(const ModelArgs& args, ModelWeights& weights) {
  std::vector<MatrixModule> modules;
  for (const OutputTensor& t : Lister(args, {}).list(weights)) {
    // The lister only looks, so its spans are of constants; what they point into is the caller's to change.
    auto* first = const_cast<WeightMatrix*>(t.matrices.data());
    if (!t.matrices.empty()) modules.push_back({t.module, {first, t.matrices.size()}});
  }
  return modules;
}

QuantizeResult write_packed_model(const fs::path& from, const fs::path& to, const PackedModel& packed,
                                  const QuantizeOptions& options) {
  check(from, to, options);
  return write_model(from, to, options, &packed);
}

QuantizeResult quantize(const fs::path& from, const fs::path& to, const QuantizeOptions& options) {
  check(from, to, options);
  return write_model(from, to, options, nullptr);
}

}  // namespace kl
