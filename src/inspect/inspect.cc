#include "kl/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string_view>
#include <system_error>

#include "base/printable.h"
#include "base/problems.h"
#include "checkpoint/checkpoint.h"
#include "config/quantization_config.h"
#include "config/tensor_table.h"
#include "kernels/kernels.h"
#include "kl/gguf.h"
#include "packing/packed_name.h"
#include "weights/sanitize.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

std::int64_t elements_of(const FileTensor& tensor) {
  std::int64_t n = 1;
  for (const std::int64_t dim : tensor.shape) n *= dim;
  return n;
}

/// What follows from the dimensions alone.
void describe_config(const ModelArgs& args, ModelReport& report) {
  const char* source = is_gguf(report.path) ? "metadata" : "config.json";
  const ReleasedSize size = released_size(args);
  report.config_parameters = static_cast<std::int64_t>(size.parameters);
  report.config_tensors = static_cast<std::int64_t>(size.tensors);

  const std::int64_t C = std::int64_t{args.kda_num_heads} * args.kda_head_dim;
  const std::int64_t expert = 3LL * args.hidden_size * args.moe_intermediate_size;
  std::int64_t idle = 0;
  for (int i = 0; i < args.num_hidden_layers; ++i) {
    LayerReport layer;
    layer.attention = args.layer_kinds[static_cast<std::size_t>(i)];
    layer.feed_forward = args.is_moe(i) ? FeedForwardKind::kMoe : FeedForwardKind::kDense;
    layer.parameters = static_cast<std::int64_t>(released_layer_size(args, i).parameters);
    report.layers.push_back(layer);
    if (args.is_moe(i)) idle += (args.num_experts - args.num_experts_per_token) * expert;
    const std::int64_t floats = args.is_kda(i)
                                    ? args.kda_num_heads * kda_state_elements(args.kda_head_dim, args.kda_head_dim) +
                                          3 * (args.kda_conv_size - 1) * C
                                    : std::int64_t{args.kv_lora_rank} + args.qk_rope_head_dim;
    (args.is_kda(i) ? report.state_fixed : report.state_per_token) += floats * static_cast<std::int64_t>(sizeof(float));
  }
  // A tied embedding is read whole by the head; otherwise a token needs one row of it.
  if (!args.tie_word_embeddings) idle += (std::int64_t{args.vocab_size} - 1) * args.hidden_size;
  report.active_parameters = report.config_parameters - idle;

  for (const std::string& key : args.unknown_keys)
    report.notes.push_back(fmt::format("{}: {} is unknown and ignored", source, key));
  for (const int id : args.eos_token_ids) {
    if (id >= args.vocab_size)
      report.notes.push_back(fmt::format("{}: eos_token_id {} lies beyond the vocabulary", source, id));
  }
}

/// Whose names the tensors have, for people.
std::string naming_text(const Checkpoint& checkpoint) {
  if (checkpoint.is_gguf()) return "GGUF (llama.cpp)";
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (parse_packed_suffix(std::string_view(name).substr(name.rfind('.') + 1))) return "kl quantize";
  }
  switch (detect_naming(checkpoint)) {
    case Naming::kNative:
      return "transformers";
    case Naming::kMlx: {
      const auto is_old = [](const auto& tensor) { return tensor.first.ends_with(".kv_b_proj.weight"); };
      const auto& tensors = checkpoint.tensors();
      return std::any_of(tensors.begin(), tensors.end(), is_old) ? "mlx-lm (before absorbed attention)" : "mlx-lm";
    }
    default:
      return "Hugging Face";
  }
}

/// What a tensor holds: its element type, or the format of packed weights.
struct Contents {
  std::string type;
  std::int64_t elements;  // padding of packed ones included
};

Contents contents_of(std::string_view name, const FileTensor& tensor) {
  const auto format = parse_packed_suffix(name.substr(name.rfind('.') + 1));
  if (!format || tensor.dtype != "U8") return {tensor.dtype, elements_of(tensor)};
  const auto tiles = static_cast<std::int64_t>(tensor.bytes) / format->tile_bytes();
  return {packed_suffix(*format), tiles * kTileOutputs * kTileInputs};
}

/// What the files hold, tensor by tensor.
void describe_files(const Checkpoint& checkpoint, ModelReport& report) {
  for (const Checkpoint::Shard& shard : checkpoint.shards()) {
    report.files.push_back({fs::path(shard.name).filename().string(), static_cast<std::int64_t>(shard.bytes),
                            static_cast<std::int64_t>(shard.num_tensors)});
  }
  report.has_weights = !report.files.empty();
  if (report.has_weights) report.naming = naming_text(checkpoint);
  std::int64_t num_ignored = 0;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const auto bytes = static_cast<std::int64_t>(tensor.data.bytes);
    const Contents contents = contents_of(name, tensor.data);
    report.tensors.push_back({name, contents.type, tensor.data.shape, bytes, tensor.shard});
    DTypeReport& dtype = report.dtypes[contents.type];
    ++dtype.tensors;
    dtype.bytes += bytes;
    report.tensor_bytes += bytes;
    report.file_parameters += contents.elements;
    num_ignored += is_left_alone(name, tensor.data);
  }
  if (num_ignored > 0) {
    report.notes.push_back(
        fmt::format("tensors ignored as no part of the model (prediction heads, rotary tables): {}", num_ignored));
  }
  if (report.args && report.args->tie_word_embeddings && checkpoint.tensors().count("lm_head.weight") > 0) {
    report.notes.push_back("lm_head.weight is ignored: the embedding is tied to it");
  }
}

}  // namespace

std::int64_t ModelReport::state_bytes(std::int64_t tokens) const {
  std::int64_t bytes = 0;
  const bool overflows =
      __builtin_mul_overflow(tokens, state_per_token, &bytes) || __builtin_add_overflow(bytes, state_fixed, &bytes);
  return overflows ? std::numeric_limits<std::int64_t>::max() : bytes;
}

ModelReport inspect(const fs::path& path) {
  ModelReport report;
  report.path = path.string();
  Problems problems;
  const auto read_config = [&] {
    report.args = ModelArgs::load(path);
    describe_config(*report.args, report);
  };
  if (const auto problem = problem_of(read_config)) problems.add(*problem);
  std::error_code error;
  if (fs::is_directory(path, error) || is_gguf(path)) {
    const auto checkpoint = Checkpoint::open(path, problems);
    describe_files(*checkpoint, report);
    if (report.args && report.has_weights && problems.empty()) {
      const auto encoding = load_encoding(path);
      const ModelWeights weights =
          bind_weights(*report.args, checkpoint, encoding.get(), problems, Binding::kCheckOnly);
      report.weights_mapped = static_cast<std::int64_t>(weights.mapped_bytes);
      report.weights_copied = static_cast<std::int64_t>(weights.copied_bytes);
      for (const auto& [form, use] : weights.stored)
        report.encodings.push_back({form.first, use.matrices, use.weights, use.bytes, form.second});
      if (weights.has_packed) {  // CacheType::kAuto
        const LatentFormat latents{LatentType::kBf16, report.args->kv_lora_rank, report.args->qk_rope_head_dim};
        report.state_per_token = report.args->num_layers_of(LayerKind::kMla) * latents.row_bytes();
      }
    }
  }
  report.problems = problems.lines();
  report.problem_code = problems.code();
  return report;
}

}  // namespace kl
