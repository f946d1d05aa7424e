#include "kl/model_args.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>

#include "base/json.h"
#include "base/json_fields.h"
#include "base/printable.h"
#include "base/problems.h"
#include "base/read_file.h"
#include "config/gguf_config.h"
#include "config/quantization_config.h"
#include "config/refused_fields.h"
#include "config/tensor_table.h"
#include "kernels/kernels.h"
#include "kl/error.h"
#include "kl/gguf.h"

namespace kl {
namespace {

// Far above any real model, low enough that products of two fit 64 bits.
constexpr int kMaxLayers = 4096;
constexpr int kMaxVocab = 1 << 24;
constexpr int kMaxWidth = 1 << 20;
constexpr int kMaxHeads = 1 << 16;
constexpr int kMaxTaps = 64;
constexpr std::int64_t kMaxProjection = 1 << 24;
constexpr double kMaxParameters = 1e15;
constexpr double kMaxTensors = 500'000;  // heads of MLA counted, which are views of their own
constexpr std::size_t kMaxEosTokens = 1024;
constexpr int kMaxId = std::numeric_limits<int>::max();
constexpr std::int64_t kMaxContext = std::int64_t{1} << 40;

/// Reads the fields of config.json, in all spellings, into ModelArgs.
class ConfigReader {
 public:
  ConfigReader(const Json& config, Problems& problems)
      : config_(config), problems_(problems), top_(*config.object(), "", problems) {}

  ModelArgs read() {
    read_stream();
    read_layer_kinds();
    read_kda();
    read_mla();
    read_moe();
    read_text();
    check_sizes();
    note_unknown_keys();
    return args_;
  }

 private:
  void read_stream() {
    top_.read({"vocab_size"}, 1, kMaxVocab, args_.vocab_size);
    top_.require({"vocab_size"});
    top_.read({"hidden_size"}, 1, kMaxWidth, args_.hidden_size);
    top_.require({"hidden_size"});
    top_.read({"num_hidden_layers"}, 1, kMaxLayers, args_.num_hidden_layers);
    top_.require({"num_hidden_layers"});
    top_.read_number({"rms_norm_eps"}, 0, 1, args_.rms_norm_eps);
    top_.read({"tie_word_embeddings"}, args_.tie_word_embeddings);
    if (!top_.read({"dtype", "torch_dtype"}, args_.dtype)) args_.dtype.clear();
  }

  /// kda_layers and full_attn_layers count from 1; layer_types names every layer.
  void read_layer_kinds() {
    const std::size_t num_layers = static_cast<std::size_t>(args_.num_hidden_layers);
    args_.layer_kinds.assign(num_layers, LayerKind::kMla);
    const bool is_native = read_layer_types();

    const Json* linear = top_.find({"linear_attn_config"});
    if (linear && !linear->object()) {
      top_.report("linear_attn_config", "expected an object, got " + linear->describe());
      return;
    }
    if (!linear) {
      // The released code takes an explicit null for a model of MLA layers alone.
      if (!is_native && config_.find("linear_attn_config") == nullptr) {
        problems_.add("linear_attn_config: missing (or layer_types), so no layer's kind is known");
      }
      return;
    }
    JsonFields fields(*linear->object(), "linear_attn_config.", problems_);
    std::vector<LayerKind> kinds(num_layers, LayerKind::kMla);
    std::vector<std::int64_t> kda, full;
    if (!fields.read_list({"kda_layers"}, kda)) {
      if (!is_native) fields.require({"kda_layers"});
      return;
    }
    fields.read_list({"full_attn_layers"}, full);
    std::vector<int> listed(num_layers, 0);
    bool is_sound = mark_layers(fields, "kda_layers", kda, listed);
    is_sound = mark_layers(fields, "full_attn_layers", full, listed) && is_sound;
    if (!is_sound || num_layers == 0) return;
    for (const std::int64_t layer : kda) kinds[static_cast<std::size_t>(layer - 1)] = LayerKind::kKda;
    if (is_native && kinds != args_.layer_kinds) fields.report("kda_layers", "disagrees with layer_types");
    args_.layer_kinds = std::move(kinds);
  }

  bool read_layer_types() {
    std::vector<std::string> types;
    if (!top_.read_list({"layer_types"}, types)) return false;
    if (types.size() != args_.layer_kinds.size()) {
      top_.report("layer_types",
                  fmt::format("expected {} entries, one a layer, got {}", args_.layer_kinds.size(), types.size()));
      return true;
    }
    for (std::size_t i = 0; i < types.size(); ++i) {
      if (types[i] == "linear_attention") {
        args_.layer_kinds[i] = LayerKind::kKda;
      } else if (types[i] != "full_attention") {
        top_.report("layer_types", fmt::format("expected \"linear_attention\" or \"full_attention\", got \"{}\"",
                                               printable(types[i], 60)));
        return true;
      }
    }
    return true;
  }

  /// Checks one 1-based list against the range and against what is listed already.
  bool mark_layers(JsonFields& fields, std::string_view name, const std::vector<std::int64_t>& layers,
                   std::vector<int>& listed) {
    if (listed.empty()) return true;  // num_hidden_layers itself is wrong and reported
    const auto num_layers = static_cast<std::int64_t>(listed.size());
    const auto bad_range = [&](std::int64_t layer) { return layer < 1 || layer > num_layers; };
    if (const auto it = std::find_if(layers.begin(), layers.end(), bad_range); it != layers.end()) {
      fields.report(name, fmt::format("expected layers from 1 to {}, got {}", num_layers, *it));
      return false;
    }
    for (const std::int64_t layer : layers) {
      if (listed[static_cast<std::size_t>(layer - 1)]++ == 0) continue;
      const bool is_repeated = std::count(layers.begin(), layers.end(), layer) > 1;
      fields.report(name, fmt::format("layer {} is listed {}", layer, is_repeated ? "twice" : "in kda_layers too"));
      return false;
    }
    return true;
  }

  /// linear_attn_config.X in the released spelling, linear_X at the top in the native one.
  void read_kda() {
    const bool has_kda = args_.num_layers_of(LayerKind::kKda) > 0;
    const auto read = [&](std::string_view released, std::string_view native, int max, int& value, bool is_required) {
      int nested = 0, flat = 0;
      const Json* linear = config_.find("linear_attn_config");
      bool has_nested = false;
      if (linear && linear->object()) {
        JsonFields fields(*linear->object(), "linear_attn_config.", problems_);
        has_nested = fields.read({released}, 1, max, nested);
        if (!has_nested && fields.find({released})) return;  // present and reported
      }
      const bool has_flat = top_.read({native}, 1, max, flat);
      if (has_nested && has_flat && nested != flat) {
        problems_.add(fmt::format("linear_attn_config.{}: is {}, but {} is {}", released, nested, native, flat));
      }
      if (has_nested || has_flat) {
        value = has_nested ? nested : flat;
      } else if (is_required && !top_.find({native})) {
        problems_.add(
            fmt::format("linear_attn_config.{}: missing (or {}), needed by the KDA layers", released, native));
      }
    };
    read("head_dim", "linear_head_dim", kMaxWidth, args_.kda_head_dim, has_kda);
    read("num_heads", "linear_num_heads", kMaxHeads, args_.kda_num_heads, has_kda);
    read("short_conv_kernel_size", "linear_conv_kernel_dim", kMaxTaps, args_.kda_conv_size, false);
  }

  void read_mla() {
    const bool has_mla = args_.num_layers_of(LayerKind::kMla) > 0;
    const auto read = [&](std::string_view name, int min, int max, int& value) {
      top_.read({name}, min, max, value);
      if (has_mla) top_.require({name}, "the full-attention layers");
    };
    read("num_attention_heads", 1, kMaxHeads, args_.num_attention_heads);
    read("kv_lora_rank", 1, kMaxWidth, args_.kv_lora_rank);
    read("qk_nope_head_dim", 1, kMaxWidth, args_.qk_nope_head_dim);
    read("qk_rope_head_dim", 0, kMaxWidth, args_.qk_rope_head_dim);
    read("v_head_dim", 1, kMaxWidth, args_.v_head_dim);
  }

  void read_moe() {
    top_.read({"num_experts", "num_local_experts", "n_routed_experts"}, 0, static_cast<int>(kMaxExperts),
              args_.num_experts);
    top_.read({"first_k_dense_replace"}, 0, kMaxId, args_.first_k_dense_replace);
    top_.read({"moe_layer_freq"}, 1, kMaxId, args_.moe_layer_freq);
    read_mlp_layer_types();
    int num_moe = 0;
    for (int i = 0; i < args_.num_hidden_layers; ++i) num_moe += args_.is_moe(i);

    top_.read({"intermediate_size"}, 1, kMaxWidth, args_.intermediate_size);
    if (num_moe < args_.num_hidden_layers) top_.require({"intermediate_size"}, "the dense layers");

    top_.read({"num_experts_per_token", "num_experts_per_tok"}, 1, static_cast<int>(kMaxExperts),
              args_.num_experts_per_token);
    top_.read({"num_shared_experts", "n_shared_experts"}, 0, static_cast<int>(kMaxExperts), args_.num_shared_experts);
    top_.read({"moe_intermediate_size"}, 1, kMaxWidth, args_.moe_intermediate_size);
    top_.read({"moe_renormalize", "norm_topk_prob"}, args_.moe_renormalize);
    top_.read_number({"routed_scaling_factor"}, 0, 1e6, args_.routed_scaling_factor);
    top_.read({"num_expert_group", "n_group"}, 1, static_cast<int>(kMaxExperts), args_.num_expert_group);
    top_.read({"topk_group"}, 1, static_cast<int>(kMaxExperts), args_.topk_group);
    std::string activation = "sigmoid";
    top_.read({"moe_router_activation_func", "scoring_func"}, activation);
    if (activation == "softmax") {
      args_.router_activation = RouterActivation::kSoftmax;
    } else if (activation != "sigmoid") {
      top_.report("moe_router_activation_func",
                  fmt::format("expected \"sigmoid\" or \"softmax\", got \"{}\"", printable(activation, 60)));
    }
    if (num_moe == 0) return;
    top_.require({"num_experts_per_token", "num_experts_per_tok"}, "the expert layers");
    top_.require({"moe_intermediate_size"}, "the expert layers");
    check_groups();
  }

  /// "dense" or "sparse" for every layer; kept only if first_k_dense_replace and moe_layer_freq cannot say the same.
  void read_mlp_layer_types() {
    std::vector<std::string> types;
    if (!top_.read_list({"mlp_layer_types"}, types)) return;
    const auto num_layers = static_cast<std::size_t>(args_.num_hidden_layers);
    if (types.size() != num_layers) {
      top_.report("mlp_layer_types", fmt::format("expected {} entries, one a layer, got {}", num_layers, types.size()));
      return;
    }
    std::vector<FeedForwardKind> kinds;
    for (const std::string& type : types) {
      if (type != "dense" && type != "sparse") {
        top_.report("mlp_layer_types",
                    fmt::format("expected \"dense\" or \"sparse\", got \"{}\"", printable(type, 60)));
        return;
      }
      kinds.push_back(type == "sparse" ? FeedForwardKind::kMoe : FeedForwardKind::kDense);
    }
    const auto first = std::find(kinds.begin(), kinds.end(), FeedForwardKind::kMoe) - kinds.begin();
    if (args_.num_experts == 0) {
      if (first != static_cast<std::ptrdiff_t>(kinds.size())) top_.require({"num_experts"}, "mlp_layer_types");
      return;
    }
    const bool has_rule = top_.find({"first_k_dense_replace"}) || args_.moe_layer_freq != 1;
    if (!has_rule) args_.first_k_dense_replace = static_cast<int>(first);
    for (int i = 0; i < args_.num_hidden_layers; ++i) {
      if (args_.is_moe(i) == (kinds[static_cast<std::size_t>(i)] == FeedForwardKind::kMoe)) continue;
      if (has_rule) {
        top_.report("mlp_layer_types",
                    fmt::format("layer {} is {}, which first_k_dense_replace {} and moe_layer_freq {} deny", i + 1,
                                types[static_cast<std::size_t>(i)], args_.first_k_dense_replace, args_.moe_layer_freq));
      } else {
        args_.feed_forward_kinds = std::move(kinds);
      }
      return;
    }
  }

  void check_groups() {
    const int experts = args_.num_experts, groups = args_.num_expert_group, kept = args_.topk_group;
    if (experts % groups != 0) {
      top_.report("num_expert_group", fmt::format("expected a divisor of num_experts {}, got {}", experts, groups));
    } else if (groups > 1 && experts / groups < 2) {
      top_.report("num_expert_group",
                  fmt::format("expected at least 2 experts a group, got {} groups of {}", groups, experts / groups));
    } else if (kept > groups) {
      top_.report("topk_group", fmt::format("expected at most num_expert_group {}, got {}", groups, kept));
    } else if (const int choice = groups > 1 ? experts / groups * kept : experts;
               args_.num_experts_per_token > choice) {
      top_.report("num_experts_per_token", fmt::format("expected at most the {} experts to choose from, got {}", choice,
                                                       args_.num_experts_per_token));
    }
  }

  /// Ids beyond the vocabulary are harmless: nothing ever produces them, and shrunken configurations keep the old ones.
  void read_text() {
    top_.read({"model_max_length", "max_position_embeddings"}, std::int64_t{0}, kMaxContext, args_.model_max_length);
    top_.read({"bos_token_id"}, -1, kMaxId, args_.bos_token_id);
    top_.read({"pad_token_id"}, -1, kMaxId, args_.pad_token_id);
    std::vector<std::int64_t> eos;
    top_.read_list({"eos_token_id"}, eos);
    if (eos.size() > kMaxEosTokens) {
      top_.report("eos_token_id", fmt::format("expected at most {} ids, got {}", kMaxEosTokens, eos.size()));
      return;
    }
    for (const std::int64_t id : eos) {
      if (id < 0 || id > kMaxId) {
        top_.report("eos_token_id", fmt::format("expected token ids, got {}", id));
        return;
      }
      args_.eos_token_ids.push_back(static_cast<int>(id));
    }
  }

  void check_sizes() {
    const auto check = [&](std::string_view what, std::int64_t heads, std::int64_t dims) {
      if (heads * dims > kMaxProjection) {
        problems_.add(fmt::format("{}: expected at most {}, got {} x {}", what, kMaxProjection, heads, dims));
      }
    };
    const ModelArgs& a = args_;
    check("linear_attn_config.num_heads x head_dim", a.kda_num_heads, a.kda_head_dim);
    check("num_attention_heads x (qk_nope_head_dim + qk_rope_head_dim)", a.num_attention_heads,
          std::int64_t{a.qk_nope_head_dim} + a.qk_rope_head_dim);
    check("num_attention_heads x v_head_dim", a.num_attention_heads, a.v_head_dim);
    check("num_shared_experts x moe_intermediate_size", a.num_shared_experts, a.moe_intermediate_size);
    if (!problems_.empty()) return;
    const ReleasedSize size = released_size(a);
    if (size.parameters > kMaxParameters) {
      problems_.add(
          fmt::format("expected at most {} parameters in all, got about {:.1e}", kMaxParameters, size.parameters));
    }
    const double heads = static_cast<double>(a.num_layers_of(LayerKind::kMla)) * a.num_attention_heads;
    if (size.tensors + heads > kMaxTensors) {
      problems_.add(
          fmt::format("expected at most {} tensors and heads in all, got {}", kMaxTensors, size.tensors + heads));
    }
  }

  void note_unknown_keys() {
    // Known and without influence on what is computed.
    top_.ignore({"architectures",
                 "auto_map",
                 "model_type",
                 "transformers_version",
                 "_name_or_path",
                 "initializer_range",
                 "use_cache",
                 "head_dim",
                 "qk_head_dim",
                 "num_key_value_heads",
                 "rope_theta",
                 "num_nextn_predict_layers",
                 "use_grouped_topk",
                 "output_router_logits",
                 "pretraining_tp",
                 "attention_dropout",
                 "return_dict",
                 "output_attentions",
                 "output_hidden_states",
                 "chunk_size_feed_forward",
                 "is_encoder_decoder",
                 "id2label",
                 "label2id",
                 "problem_type",
                 "tokenizer_class",
                 "quantization",
                 "quantization_config"});
    for (const std::string& key : top_.unread()) {
      if (!is_refusable_field(key)) args_.unknown_keys.push_back(key);
    }
    const Json* linear = config_.find("linear_attn_config");
    if (!linear || !linear->object()) return;
    JsonFields fields(*linear->object(), "linear_attn_config.", problems_);
    fields.ignore({"kda_layers", "full_attn_layers", "head_dim", "num_heads", "short_conv_kernel_size"});
    for (const std::string& key : fields.unread()) {
      if (!is_refusable_field(key)) args_.unknown_keys.push_back(key);
    }
  }

  const Json& config_;
  Problems& problems_;
  JsonFields top_;
  ModelArgs args_;
};

}  // namespace

int ModelArgs::num_layers_of(LayerKind kind) const {
  return static_cast<int>(std::count(layer_kinds.begin(), layer_kinds.end(), kind));
}

ModelArgs ModelArgs::parse(std::string_view json, const std::string& name) {
  const Json config = Json::parse(json, name);
  if (!config.object())
    throw Error(ErrorCode::kCorrupt, fmt::format("{}: expected an object, got {}", name, config.describe()));
  Problems problems;
  ModelArgs args;
  read_encoding(config, problems);  // for what is wrong with it
  if (report_refused_fields(config, problems)) args = ConfigReader(config, problems).read();
  problems.throw_if_any(name);
  return args;
}

ModelArgs ModelArgs::load(const std::filesystem::path& dir_or_file) {
  if (is_gguf(dir_or_file)) return gguf_model_args(*GgufFile::open(dir_or_file));
  std::error_code error;
  const bool is_dir = std::filesystem::is_directory(dir_or_file, error);
  const std::filesystem::path path = is_dir ? dir_or_file / "config.json" : dir_or_file;
  return parse(read_file(path, 16u << 20), path.string());
}

}  // namespace kl
