#include "convert/source_model.h"

#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "base/numbers.h"
#include "config/quantization_config.h"
#include "packing/packed_name.h"
#include "weights/sanitize.h"

namespace kl {
namespace {

constexpr std::string_view kWeight = ".weight";

/// "a.b" of "a.b.weight"; empty for a tensor of another name.
std::string module_of(const std::string& tensor) {
  return tensor.ends_with(kWeight) ? tensor.substr(0, tensor.size() - kWeight.size()) : std::string();
}

}  // namespace

bool is_vector(const TensorRule& rule) { return rule.cols == 1 || rule.role.ends_with("_conv"); }

SourceModel::SourceModel(const std::filesystem::path& path)
    : path_(path),
      args_(ModelArgs::load(path)),
      checkpoint_(Checkpoint::open(path)),
      encoding_(load_encoding(path)),
      rules_(tensor_rules(args_)) {
  Problems problems;
  bind_weights(args_, checkpoint_, encoding_.get(), problems, Binding::kCheckOnly);
  problems.throw_if_any(checkpoint_->name());
}

SourceMatrix SourceModel::find(const TensorRule& rule, int layer, std::int64_t index, bool transposed) {
  SourceMatrix m;
  m.file_rows_ = is_vector(rule) ? 1 : rule.rows;
  m.file_cols_ = is_vector(rule) ? rule.rows * rule.cols : rule.cols;
  m.is_transposed_ = transposed;
  if (find_packed(rule, layer, index, m) || find_stored(rule, layer, index, transposed, m)) return m;
  find_plain(rule, layer, index, transposed, m);
  return m;
}

bool SourceModel::find_packed(const TensorRule& rule, int layer, std::int64_t index, SourceMatrix& m) const {
  for (const Spelling& spelling : rule.spellings) {
    const std::string module = module_of(tensor_name(spelling, rule.part, layer, index));
    if (spelling.is_transposed || module.empty()) continue;
    const auto it = checkpoint_->tensors().lower_bound(module + ".q");
    if (it == checkpoint_->tensors().end() || !it->first.starts_with(module + ".")) continue;
    const auto format = parse_packed_suffix(std::string_view(it->first).substr(module.size() + 1));
    if (!format) continue;
    const bool is_one_of_many = rule.part == Part::kMla && spelling.row_step > 0;
    m.kind_ = SourceMatrix::Kind::kPacked;
    m.format_ = *format;
    m.data_ = it->second.data.data + (is_one_of_many ? index * format->matrix_bytes(rule.rows, rule.cols) : 0);
    m.tensor_ = it->first;
    return true;
  }
  return false;
}

bool SourceModel::find_stored(const TensorRule& rule, int layer, std::int64_t index, bool transposed, SourceMatrix& m) {
  if (encoding_ == nullptr) return false;
  for (const Spelling& spelling : rule.spellings) {
    const std::string module = module_of(tensor_name(spelling, rule.part, layer, index));
    if (module.empty()) continue;
    const auto [it, is_new] = stored_.try_emplace(module);
    if (is_new) it->second = encoding_->find(module, spelling.shapes.front(), *this);
    if (!it->second.is_encoded) continue;
    m.kind_ = SourceMatrix::Kind::kStored;
    m.stored_ = it->second.matrix;
    m.first_row_ = spelling.first_row + spelling.row_step * index;
    if (spelling.is_transposed) std::swap(m.file_rows_, m.file_cols_);
    m.is_transposed_ = spelling.is_transposed != transposed;
    m.tensor_ = module + std::string(kWeight);
    return true;
  }
  return false;
}

void SourceModel::find_plain(const TensorRule& rule, int layer, std::int64_t index, bool transposed,
                             SourceMatrix& m) const {
  for (const Spelling& spelling : rule.spellings) {
    std::string name = tensor_name(spelling, rule.part, layer, index);
    const auto it = checkpoint_->tensors().find(name);
    if (it == checkpoint_->tensors().end()) continue;
    m.kind_ = spelling.is_negated_exp ? SourceMatrix::Kind::kLogarithms : SourceMatrix::Kind::kPlain;
    m.type_ = *parse_dtype(it->second.data.dtype);
    if (spelling.is_transposed) std::swap(m.file_rows_, m.file_cols_);
    m.is_transposed_ = spelling.is_transposed != transposed;
    const std::int64_t row_elements = spelling.is_transposed ? rule.rows : rule.cols;
    const std::int64_t first = (spelling.first_row + spelling.row_step * index) * row_elements;
    m.data_ = it->second.data.data + static_cast<std::size_t>(first) * size_of(m.type_);
    m.tensor_ = std::move(name);
    return;
  }
}

const FileTensor* SourceModel::find(const std::string& name) {
  const auto it = checkpoint_->tensors().find(name);
  return it == checkpoint_->tensors().end() ? nullptr : &it->second.data;
}

/// Binding has found nothing wrong, so encodings have nothing to say.
void SourceModel::complain(ErrorCode code, const std::string& tensor, const std::string& what) {
  throw Error(code, checkpoint_->name() + ": tensor " + tensor + ": " + what);
}

void SourceModel::forget_pages() const {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (const auto& [name, tensor] : checkpoint_->tensors()) {
    const auto begin = reinterpret_cast<std::uintptr_t>(tensor.data.data) / page * page;
    const auto end = reinterpret_cast<std::uintptr_t>(tensor.data.data) + tensor.data.bytes;
    ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
}

}  // namespace kl
