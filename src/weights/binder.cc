#include "weights/binder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/dtype.h"
#include "base/numbers.h"
#include "base/printable.h"
#include "packing/packed_name.h"

namespace kl {
namespace {

constexpr std::string_view kWeight = ".weight";

/// "a.b" of "a.b.weight"; nothing for a tensor of another name.
std::optional<std::string> module_of(const std::string& tensor) {
  if (!tensor.ends_with(kWeight)) return {};
  return tensor.substr(0, tensor.size() - kWeight.size());
}

std::string shapes_text(const Spelling& spelling) {
  std::string text;
  for (const auto& shape : spelling.shapes) text += (text.empty() ? "" : " or ") + shape_text(shape);
  return text;
}

bool is_aligned(const void* data, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(data) % alignment == 0;
}

}  // namespace

Binder::Binder(const ModelArgs& args, Storage& storage, ModelWeights& weights, const Encoding* encoding,
               Binding binding)
    : args_(args),
      checkpoint_(*storage.checkpoint),
      storage_(storage),
      weights_(weights),
      encoding_(encoding),
      naming_(detect_naming(checkpoint_)),
      repacking_(binding == Binding::kCheckOnly) {
  for (TensorRule& rule : tensor_rules(args)) rules_.emplace(rule.role, std::move(rule));
}

WeightMatrix Binder::matrix(std::string_view role, int layer, std::int64_t index) {
  const TensorRule& rule = rules_.at(role);
  WeightMatrix m{nullptr, DType::kF32, rule.rows, rule.cols, rule.cols};
  const bool is_bound = bind_packed(rule, layer, index, m) || bind_encoded(rule, layer, index, m);
  weights_.has_packed = weights_.has_packed || m.type == DType::kPacked;
  if (is_bound) return m;
  const auto found = find_plain(rule, layer, index);
  if (!found) return m;
  m.type = found->type;
  if (found->is_transposed) {
    m.data = transposed(*found, rule);
  } else if (!is_aligned(found->data, size_of(m.type))) {
    m.data = std::memcpy(new_buffer(found->bytes), found->data, found->bytes);
  } else {
    use_in_place(found->data, found->bytes);
    m.data = found->data;
  }
  return m;
}

const float* Binder::vector(std::string_view role, int layer) {
  const TensorRule& rule = rules_.at(role);
  const auto found = find_plain(rule, layer, 0);
  if (!found) return rule.is_optional ? zeros(rule.rows) : nullptr;
  if (found->is_negated_exp) return logarithms(*found, rule.rows);
  if (found->type == DType::kF32 && is_aligned(found->data, alignof(float))) {
    use_in_place(found->data, found->bytes);
    return reinterpret_cast<const float*>(found->data);
  }
  float* out = zeros(rule.rows);
  read_numbers(number_type(found->type), found->data, static_cast<std::size_t>(rule.rows), out);
  return out;
}

const float* Binder::taps_first(std::string_view role, int layer) {
  const TensorRule& rule = rules_.at(role);
  const auto found = find_plain(rule, layer, 0);
  if (!found) return nullptr;
  float* out = zeros(rule.rows * rule.cols);
  for (std::int64_t c = 0; c < rule.rows; ++c) {
    for (std::int64_t w = 0; w < rule.cols; ++w) {
      out[w * rule.rows + c] = widen(found->data, found->type, c * rule.cols + w);
    }
  }
  return out;
}

/// x of the file's -exp(x), rounded once to f32.
const float* Binder::logarithms(const Found& found, std::int64_t n) {
  float* out = zeros(n);
  for (std::int64_t i = 0; i < n; ++i) {
    const float value = widen(found.data, found.type, i);
    if (!(value < 0) || std::isinf(value)) {
      complain(ErrorCode::kCorrupt, found.name,
               fmt::format("expected finite numbers below 0, -exp(A_log), got {}", value));
      return out;
    }
    out[i] = static_cast<float>(std::log(-static_cast<double>(value)));
  }
  return out;
}

/// Points `m` at the role's packed tensor, if the file has one: true even if that is no good.
bool Binder::bind_packed(const TensorRule& rule, int layer, std::int64_t index, WeightMatrix& m) {
  for (const Spelling& spelling : rule.spellings) {
    const auto module = module_of(tensor_name(spelling, rule.part, layer, index));
    if (spelling.is_transposed || !module) continue;
    const auto it = checkpoint_.tensors().lower_bound(*module + ".q");
    if (it == checkpoint_.tensors().end() || !it->first.starts_with(*module + ".")) continue;
    const auto format = parse_packed_suffix(std::string_view(it->first).substr(module->size() + 1));
    if (!format) continue;
    used_.insert(it->first);
    const FileTensor& tensor = it->second.data;
    // Heads share a tensor, experts have one each.
    const std::int64_t count = rule.part == Part::kMla && spelling.row_step > 0 ? spelling.shapes.front().front() : 1;
    const auto shape = packed_shape(*format, count, rule.rows, rule.cols);
    if (tensor.dtype != "U8" || tensor.shape != shape) {
      complain(ErrorCode::kCorrupt, it->first,
               fmt::format("expected U8 {}, got {} {}", shape_text(shape), tensor.dtype, shape_text(tensor.shape)));
      return true;
    }
    const auto bytes = static_cast<std::size_t>(format->matrix_bytes(rule.rows, rule.cols));
    const std::byte* data = tensor.data + (count > 1 ? static_cast<std::size_t>(index) * bytes : 0);
    m = {data, DType::kPacked, rule.rows, rule.cols, rule.cols, *format};
    if (!is_aligned(data, AlignedBuffer::kAlignment)) {
      m.data = std::memcpy(new_buffer(bytes), data, bytes);
    } else {
      use_in_place(data, bytes);
    }
    return true;
  }
  return false;
}

/// Makes `m` of the role's encoded tensors, if the file has them: true even if they are no good.
bool Binder::bind_encoded(const TensorRule& rule, int layer, std::int64_t index, WeightMatrix& m) {
  if (encoding_ == nullptr) return false;
  for (const Spelling& spelling : rule.spellings) {
    const auto module = module_of(tensor_name(spelling, rule.part, layer, index));
    if (!module) continue;
    const StoredModule& found = stored_module(*module, spelling.shapes.front());
    if (!found.is_encoded) continue;
    if (!found.matrix) return true;
    const RowRange rows{spelling.first_row + spelling.row_step * index, spelling.is_transposed ? rule.cols : rule.rows,
                        spelling.is_transposed};
    m = repacking_.add(found.matrix, rows, *module + std::string(kWeight));
    return true;
  }
  return false;
}

const StoredModule& Binder::stored_module(const std::string& module, const std::vector<std::int64_t>& shape) {
  const auto [it, is_new] = stored_.try_emplace(module);
  if (!is_new) return it->second;
  it->second = encoding_->find(module, shape, *this);
  if (const auto& matrix = it->second.matrix) {
    StoredUse& use = weights_.stored[{matrix->encoding(), held_text(matrix->held_as())}];
    ++use.matrices;
    use.weights += matrix->rows() * matrix->cols();
    use.bytes += static_cast<std::int64_t>(matrix->bytes());
  }
  return it->second;
}

std::optional<Binder::Found> Binder::find_plain(const TensorRule& rule, int layer, std::int64_t index) {
  for (const Spelling& spelling : rule.spellings) {
    const std::string name = tensor_name(spelling, rule.part, layer, index);
    const FileTensor* tensor = find(name);
    if (tensor == nullptr) continue;
    const auto type = parse_dtype(tensor->dtype);
    if (!type) {
      complain(
          ErrorCode::kUnsupported, name,
          fmt::format("expected F32, F16 or BF16{}, got {}",
                      encoding_ == nullptr ? " as config.json says nothing of quantised weights" : "", tensor->dtype));
      return {};
    }
    if (std::find(spelling.shapes.begin(), spelling.shapes.end(), tensor->shape) == spelling.shapes.end()) {
      complain(ErrorCode::kCorrupt, name,
               fmt::format("expected {}, got {}", shapes_text(spelling), shape_text(tensor->shape)));
      return {};
    }
    const std::int64_t first =
        (spelling.first_row + spelling.row_step * index) * (spelling.is_transposed ? rule.rows : rule.cols);
    return Found{tensor->data + static_cast<std::size_t>(first) * size_of(*type),
                 *type,
                 static_cast<std::size_t>(rule.rows * rule.cols) * size_of(*type),
                 spelling.is_transposed,
                 spelling.is_negated_exp,
                 name};
  }
  if (!rule.is_optional) complain_missing(rule, layer, index);
  return {};
}

const FileTensor* Binder::find(const std::string& name) {
  const auto it = checkpoint_.tensors().find(name);
  if (it == checkpoint_.tensors().end()) return nullptr;
  used_.insert(name);
  return &it->second.data;
}

void Binder::complain(ErrorCode code, const std::string& tensor, const std::string& what) {
  complaints_.add(code, tensor, what);
}

/// Names the tensor as this checkpoint would.
void Binder::complain_missing(const TensorRule& rule, int layer, std::int64_t index) {
  const auto named = [&](Naming naming) {
    return std::find_if(rule.spellings.begin(), rule.spellings.end(),
                        [=](const Spelling& s) { return s.naming == naming; });
  };
  auto spelling = named(naming_);
  if (spelling == rule.spellings.end()) spelling = named(Naming::kAny);
  if (spelling == rule.spellings.end()) spelling = rule.spellings.begin();
  complain(ErrorCode::kCorrupt, tensor_name(*spelling, rule.part, layer, index),
           fmt::format("missing, expected {}", shapes_text(*spelling)));
}

void Binder::complain_unused() {
  for (const auto& [name, tensor] : checkpoint_.tensors()) {
    if (used_.count(name) > 0 || is_left_alone(name, tensor.data)) continue;
    if (args_.tie_word_embeddings && name.starts_with("lm_head.")) continue;
    const bool is_of_quantised = name.ends_with(".scales") || name.ends_with(".biases") ||
                                 name.ends_with(".weight_scale") || name.ends_with(".weight_packed");
    if (encoding_ == nullptr && is_of_quantised) {
      complain(ErrorCode::kUnsupported, name, "belongs to quantised weights, of which config.json says nothing");
    } else {
      complain(ErrorCode::kCorrupt, name,
               fmt::format("unexpected {} {}", tensor.data.dtype, shape_text(tensor.data.shape)));
    }
  }
}

/// Is there, under whatever naming, a matrix called `name`.weight in this model?
bool Binder::is_module(std::string_view name) {
  if (modules_.empty()) {
    for (const auto& [role, rule] : rules_) {
      for (const Spelling& spelling : rule.spellings) {
        const std::int64_t experts = spelling.name.find("{e}") != std::string::npos ? args_.num_experts : 1;
        for (int layer = 0; layer < args_.num_hidden_layers; ++layer) {
          if (!layer_has_part(args_, layer, rule.part)) continue;
          for (std::int64_t e = 0; e < experts; ++e)
            if (const auto module = module_of(tensor_name(spelling, rule.part, layer, e))) modules_.insert(*module);
        }
      }
    }
  }
  return name.starts_with("model.mtp") || modules_.count(name) > 0;
}

void Binder::finish(Problems& problems) {
  if (encoding_ != nullptr) {
    encoding_->check_modules([this](std::string_view name) { return is_module(name); }, *this);
    for (const std::string& tensor : repacking_.run())
      complain(ErrorCode::kCorrupt, tensor, "expected finite weights, got others");
    weights_.copied_bytes += repacking_.bytes();
    for (AlignedBuffer& buffer : repacking_.take_buffers()) storage_.buffers.push_back(std::move(buffer));
  }
  complain_unused();
  complaints_.report(problems);
}

void Binder::use_in_place(const std::byte* data, std::size_t bytes) {
  weights_.mapped_bytes += bytes;
  weights_.mapped.emplace_back(data, bytes);
}

void* Binder::new_buffer(std::size_t bytes) {
  weights_.copied_bytes += bytes;
  return storage_.buffers.emplace_back((bytes + sizeof(float) - 1) / sizeof(float)).data();
}

/// The file's [cols, rows] as [rows, cols], element type kept.
const void* Binder::transposed(const Found& found, const TensorRule& rule) {
  auto* out = static_cast<std::byte*>(new_buffer(found.bytes));
  const std::size_t size = size_of(found.type);
  const auto rows = static_cast<std::size_t>(rule.rows), cols = static_cast<std::size_t>(rule.cols);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < cols; ++c)
      std::memcpy(out + (r * cols + c) * size, found.data + (c * rows + r) * size, size);
  }
  return out;
}

}  // namespace kl
