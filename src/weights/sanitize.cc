#include "weights/sanitize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/dtype.h"
#include "base/printable.h"
#include "weights/complaints.h"
#include "weights/packed_name.h"

namespace kl {
namespace {

std::optional<DType> parse_dtype(std::string_view name) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    if (name == name_of(type)) return type;
  }
  return {};
}

/// What the weights point into: the mapped files and the buffers of converted tensors.
struct Storage {
  std::shared_ptr<const Checkpoint> checkpoint;
  std::vector<AlignedBuffer> buffers;
};

/// Element i of `data`, which need not be aligned, widened.
float widen(const std::byte* data, DType type, std::int64_t i) {
  std::uint16_t half = 0;
  float full = 0;
  switch (type) {
    case DType::kF32:
      std::memcpy(&full, data + 4 * i, 4);
      return full;
    case DType::kF16:
      std::memcpy(&half, data + 2 * i, 2);
      return f16_to_f32(half);
    case DType::kBF16:
      std::memcpy(&half, data + 2 * i, 2);
      return bf16_to_f32(half);
    case DType::kPacked:
      break;  // no tensor of single elements is packed
  }
  return full;
}

/// Takes roles out of the checkpoint one by one and remembers what was used and what was wrong.
class Binder {
 public:
  Binder(const ModelArgs& args, const Checkpoint& checkpoint, Storage& storage, ModelWeights& weights)
      : checkpoint_(checkpoint), storage_(storage), weights_(weights), naming_(detect_naming(checkpoint)) {
    for (TensorRule& rule : tensor_rules(args)) rules_.emplace(rule.role, std::move(rule));
  }

  /// [rows, cols] of a role; `index` counts experts or heads.
  WeightMatrix matrix(std::string_view role, int layer, std::int64_t index = 0) {
    const TensorRule& rule = rules_.at(role);
    WeightMatrix m{nullptr, DType::kF32, rule.rows, rule.cols, rule.cols};
    if (bind_packed(rule, layer, index, m)) return m;
    const auto found = find(rule, layer, index);
    if (!found) return m;
    m.type = found->type;
    if (found->is_transposed) {
      m.data = transposed(*found, rule);
    } else if (reinterpret_cast<std::uintptr_t>(found->data) % size_of(m.type) != 0) {
      m.data = std::memcpy(new_buffer(found->bytes), found->data, found->bytes);
    } else {
      weights_.mapped_bytes += found->bytes;
      m.data = found->data;
    }
    return m;
  }

  /// All elements of a role in f32.
  const float* vector(std::string_view role, int layer) {
    const TensorRule& rule = rules_.at(role);
    const auto found = find(rule, layer, 0);
    if (!found) return rule.is_optional ? zeros(rule.rows) : nullptr;
    if (found->type == DType::kF32 && reinterpret_cast<std::uintptr_t>(found->data) % alignof(float) == 0) {
      weights_.mapped_bytes += found->bytes;
      return reinterpret_cast<const float*>(found->data);
    }
    float* out = zeros(rule.rows);
    for (std::int64_t i = 0; i < rule.rows; ++i) out[i] = widen(found->data, found->type, i);
    return out;
  }

  /// Convolution [C, W] of the file as [W, C] in f32: a vector lane then holds neighbouring channels of one tap.
  const float* taps_first(std::string_view role, int layer) {
    const TensorRule& rule = rules_.at(role);
    const auto found = find(rule, layer, 0);
    if (!found) return nullptr;
    float* out = zeros(rule.rows * rule.cols);
    for (std::int64_t c = 0; c < rule.rows; ++c) {
      for (std::int64_t w = 0; w < rule.cols; ++w) {
        out[w * rule.rows + c] = widen(found->data, found->type, c * rule.cols + w);
      }
    }
    return out;
  }

  void ignore(const std::string& tensor) { used_.insert(tensor); }

  /// Everything wrong, including tensors nobody asked for.
  void report(Problems& problems) {
    for (const auto& [name, tensor] : checkpoint_.tensors()) {
      if (used_.count(name) > 0 || is_left_alone(name, tensor.data)) continue;
      if (name.ends_with(".scales") || name.ends_with(".weight_scale") || name.ends_with(".weight_packed")) {
        complaints_.add(ErrorCode::kUnsupported, name, "belongs to quantised weights, which kl does not read yet");
      } else {
        complaints_.add(ErrorCode::kCorrupt, name,
                        fmt::format("unexpected {} {}", tensor.data.dtype, shape_text(tensor.data.shape)));
      }
    }
    complaints_.report(problems);
  }

 private:
  struct Found {
    const std::byte* data;
    DType type;
    std::size_t bytes;
    bool is_transposed;
  };

  /// Points `m` at the role's packed tensor, if the file has one: true even if that is no good.
  bool bind_packed(const TensorRule& rule, int layer, std::int64_t index, WeightMatrix& m) {
    for (const Spelling& spelling : rule.spellings) {
      std::string module = tensor_name(spelling, rule.part, layer, index);
      if (spelling.is_transposed || !module.ends_with("weight")) continue;
      module.resize(module.size() - std::string_view("weight").size());
      const auto it = checkpoint_.tensors().lower_bound(module + "q");
      if (it == checkpoint_.tensors().end() || !it->first.starts_with(module)) continue;
      const auto format = parse_packed_suffix(std::string_view(it->first).substr(module.size()));
      if (!format) continue;
      used_.insert(it->first);
      const FileTensor& tensor = it->second.data;
      // Heads share a tensor, experts have one each.
      const std::int64_t count = rule.part == Part::kMla && spelling.row_step > 0 ? spelling.shapes.front().front() : 1;
      const auto shape = packed_shape(*format, count, rule.rows, rule.cols);
      if (tensor.dtype != "U8" || tensor.shape != shape) {
        complaints_.add(
            ErrorCode::kCorrupt, it->first,
            fmt::format("expected U8 {}, got {} {}", shape_text(shape), tensor.dtype, shape_text(tensor.shape)));
        return true;
      }
      const auto bytes = static_cast<std::size_t>(format->matrix_bytes(rule.rows, rule.cols));
      const std::byte* data = tensor.data + (count > 1 ? static_cast<std::size_t>(index) * bytes : 0);
      m = {data, DType::kPacked, rule.rows, rule.cols, rule.cols, *format};
      if (reinterpret_cast<std::uintptr_t>(data) % AlignedBuffer::kAlignment != 0) {
        m.data = std::memcpy(new_buffer(bytes), data, bytes);
      } else {
        weights_.mapped_bytes += bytes;
      }
      return true;
    }
    return false;
  }

  std::optional<Found> find(const TensorRule& rule, int layer, std::int64_t index) {
    for (const Spelling& spelling : rule.spellings) {
      const std::string name = tensor_name(spelling, rule.part, layer, index);
      const auto it = checkpoint_.tensors().find(name);
      if (it == checkpoint_.tensors().end()) continue;
      used_.insert(name);
      const FileTensor& tensor = it->second.data;
      const auto type = parse_dtype(tensor.dtype);
      if (!type) {
        complaints_.add(ErrorCode::kUnsupported, name, fmt::format("expected F32, F16 or BF16, got {}", tensor.dtype));
        return {};
      }
      if (std::find(spelling.shapes.begin(), spelling.shapes.end(), tensor.shape) == spelling.shapes.end()) {
        complaints_.add(ErrorCode::kCorrupt, name,
                        fmt::format("expected {}, got {}", shapes_text(spelling), shape_text(tensor.shape)));
        return {};
      }
      const std::int64_t first =
          (spelling.first_row + spelling.row_step * index) * (spelling.is_transposed ? rule.rows : rule.cols);
      return Found{tensor.data + static_cast<std::size_t>(first) * size_of(*type), *type,
                   static_cast<std::size_t>(rule.rows * rule.cols) * size_of(*type), spelling.is_transposed};
    }
    if (!rule.is_optional) complain_missing(rule, layer, index);
    return {};
  }

  /// Names the tensor as this checkpoint would.
  void complain_missing(const TensorRule& rule, int layer, std::int64_t index) {
    const auto named = [&](Naming naming) {
      return std::find_if(rule.spellings.begin(), rule.spellings.end(),
                          [=](const Spelling& s) { return s.naming == naming; });
    };
    auto spelling = named(naming_);
    if (spelling == rule.spellings.end()) spelling = named(Naming::kAny);
    if (spelling == rule.spellings.end()) spelling = rule.spellings.begin();
    complaints_.add(ErrorCode::kCorrupt, tensor_name(*spelling, rule.part, layer, index),
                    fmt::format("missing, expected {}", shapes_text(*spelling)));
  }

  static std::string shapes_text(const Spelling& spelling) {
    std::string text;
    for (const auto& shape : spelling.shapes) text += (text.empty() ? "" : " or ") + shape_text(shape);
    return text;
  }

  void* new_buffer(std::size_t bytes) {
    weights_.copied_bytes += bytes;
    return storage_.buffers.emplace_back((bytes + sizeof(float) - 1) / sizeof(float)).data();
  }
  float* zeros(std::int64_t n) { return static_cast<float*>(new_buffer(static_cast<std::size_t>(n) * sizeof(float))); }

  /// The file's [cols, rows] as [rows, cols], element type kept.
  const void* transposed(const Found& found, const TensorRule& rule) {
    auto* out = static_cast<std::byte*>(new_buffer(found.bytes));
    const std::size_t size = size_of(found.type);
    const auto rows = static_cast<std::size_t>(rule.rows), cols = static_cast<std::size_t>(rule.cols);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < cols; ++c)
        std::memcpy(out + (r * cols + c) * size, found.data + (c * rows + r) * size, size);
    }
    return out;
  }

  const Checkpoint& checkpoint_;
  Storage& storage_;
  ModelWeights& weights_;
  Naming naming_;
  std::map<std::string_view, TensorRule> rules_;
  std::set<std::string, std::less<>> used_;
  Complaints complaints_;
};

// One function per part of the model, in the order of weights.h; `i` is the layer.
KdaWeights bind_kda(Binder& b, int i) {
  KdaWeights w{};
  w.q_proj = b.matrix("kda.q_proj", i);
  w.k_proj = b.matrix("kda.k_proj", i);
  w.v_proj = b.matrix("kda.v_proj", i);
  w.q_conv = b.taps_first("kda.q_conv", i);
  w.k_conv = b.taps_first("kda.k_conv", i);
  w.v_conv = b.taps_first("kda.v_conv", i);
  w.A_log = b.vector("kda.A_log", i);
  w.dt_bias = b.vector("kda.dt_bias", i);
  w.f_a_proj = b.matrix("kda.f_a_proj", i);
  w.f_b_proj = b.matrix("kda.f_b_proj", i);
  w.b_proj = b.matrix("kda.b_proj", i);
  w.g_a_proj = b.matrix("kda.g_a_proj", i);
  w.g_b_proj = b.matrix("kda.g_b_proj", i);
  w.o_norm = b.vector("kda.o_norm", i);
  w.o_proj = b.matrix("kda.o_proj", i);
  return w;
}

MlaWeights bind_mla(Binder& b, const ModelArgs& args, int i) {
  MlaWeights w{};
  w.q_proj = b.matrix("mla.q_proj", i);
  w.kv_a_proj = b.matrix("mla.kv_a_proj", i);
  w.kv_a_norm = b.vector("mla.kv_a_norm", i);
  for (int h = 0; h < args.num_attention_heads; ++h) {
    w.w_uk.push_back(b.matrix("mla.w_uk", i, h));
    w.w_uv.push_back(b.matrix("mla.w_uv", i, h));
  }
  w.o_proj = b.matrix("mla.o_proj", i);
  return w;
}

MlpWeights bind_mlp(Binder& b, const std::string& part, int i, std::int64_t expert = 0) {
  return {b.matrix(part + ".gate_proj", i, expert), b.matrix(part + ".up_proj", i, expert),
          b.matrix(part + ".down_proj", i, expert)};
}

MoeWeights bind_moe(Binder& b, const ModelArgs& args, int i) {
  MoeWeights w{};
  w.router = b.matrix("moe.router", i);
  w.correction_bias = b.vector("moe.correction_bias", i);
  for (int e = 0; e < args.num_experts; ++e) w.experts.push_back(bind_mlp(b, "expert", i, e));
  const auto is_packed = [](const MlpWeights& e) {
    return e.gate_proj.type == DType::kPacked && e.up_proj.type == DType::kPacked && e.down_proj.type == DType::kPacked;
  };
  w.experts_are_packed = std::all_of(w.experts.begin(), w.experts.end(), is_packed);
  if (args.num_shared_experts > 0) w.shared = bind_mlp(b, "shared", i);
  return w;
}

LayerWeights bind_layer(Binder& b, const ModelArgs& args, int i) {
  LayerWeights w{};
  w.input_norm = b.vector("input_norm", i);
  w.post_attention_norm = b.vector("post_attention_norm", i);
  if (args.is_kda(i)) {
    w.attention = bind_kda(b, i);
  } else {
    w.attention = bind_mla(b, args, i);
  }
  if (args.is_moe(i)) {
    w.feed_forward = bind_moe(b, args, i);
  } else {
    w.feed_forward = bind_mlp(b, "mlp", i);
  }
  return w;
}

}  // namespace

bool is_left_alone(std::string_view name, const FileTensor& tensor) {
  return name.starts_with("model.mtp") || name.ends_with("rotary_emb.inv_freq") || tensor.bytes == 0;
}

Naming detect_naming(const Checkpoint& checkpoint) {
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const auto has = [&name = name](std::string_view part) { return name.find(part) != name.npos; };
    if (has(".switch_mlp.") || has("_conv.conv.weight") || has(".embed_q.")) return Naming::kMlx;
    if (has(".forget_gate.") || has(".experts.gate_up_proj") || has(".self_attn.conv1d.")) return Naming::kNative;
    if (has(".block_sparse_moe.") || has("_conv1d.weight")) return Naming::kReleased;
  }
  return Naming::kReleased;
}

ModelWeights bind_weights(const ModelArgs& args, std::shared_ptr<const Checkpoint> checkpoint, Problems& problems) {
  ModelWeights weights{};
  const auto storage = std::make_shared<Storage>();
  storage->checkpoint = std::move(checkpoint);
  Binder b(args, *storage->checkpoint, *storage, weights);
  weights.embed_tokens = b.matrix("embed_tokens", -1);
  for (int i = 0; i < args.num_hidden_layers; ++i) weights.layers.push_back(bind_layer(b, args, i));
  weights.norm = b.vector("norm", -1);
  if (args.tie_word_embeddings) {
    weights.lm_head = weights.embed_tokens;
    b.ignore("lm_head.weight");
  } else {
    weights.lm_head = b.matrix("lm_head", -1);
  }
  b.report(problems);
  weights.storage = storage;
  return weights;
}

ModelWeights bind_weights(const ModelArgs& args, std::shared_ptr<const Checkpoint> checkpoint) {
  Problems problems;
  const std::string name = checkpoint->name();
  ModelWeights weights = bind_weights(args, std::move(checkpoint), problems);
  problems.throw_if_any(name);
  return weights;
}

}  // namespace kl
