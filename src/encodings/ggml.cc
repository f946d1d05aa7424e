#include "encodings/ggml.h"

#include <fmt/format.h>

#include "encodings/require_tensor.h"
#include "gguf/ggml_blocks.h"
#include "gguf/ggml_type.h"

namespace kl {
namespace {

class GgmlMatrix : public StoredMatrix {
 public:
  GgmlMatrix(const GgmlType& type, const GgmlBlocks& blocks, const FileTensor& tensor, std::int64_t rows,
             std::int64_t cols)
      : StoredMatrix(rows, cols, "GGUF " + std::string(type.name), tensor.bytes),
        type_(type),
        blocks_(blocks),
        data_(tensor.data) {}

  void decode_row(std::int64_t row, float* w) const noexcept override { decode_blocks(blocks_, bytes(row), cols(), w); }

  HeldForm held_as() const noexcept override {
    return {DType::kPacked, {blocks_.bits, blocks_.group, blocks_.has_minimum, blocks_.scale_type}};
  }

  void packed_row(std::int64_t row, const PackedRow& out) const noexcept override {
    const std::byte* block = bytes(row);
    for (std::int64_t k = 0; k < cols(); k += type_.values, block += type_.bytes) {
      const std::int64_t group = k / blocks_.group;
      blocks_.unpack(block, out.q + k, out.scale + group, blocks_.has_minimum ? out.minimum + group : nullptr);
    }
  }

 private:
  const std::byte* bytes(std::int64_t row) const { return data_ + row * (cols() / type_.values * type_.bytes); }

  const GgmlType& type_;
  const GgmlBlocks& blocks_;
  const std::byte* const data_;
};

}  // namespace

StoredModule GgmlEncoding::find(const std::string& module, const std::vector<std::int64_t>& shape,
                                TensorSource& source) const {
  const std::string name = module + ".weight";
  const FileTensor* tensor = source.find(name);
  if (tensor == nullptr) return {};
  const GgmlType* type = find_ggml_type(tensor->dtype);
  if (type == nullptr || type->name == "F32" || type->name == "F16" || type->name == "BF16") return {};
  const GgmlBlocks* blocks = find_ggml_blocks(type->name);
  if (blocks == nullptr) {
    source.complain(ErrorCode::kUnsupported, name,
                    fmt::format("expected a type of block that kl reads, got {}", type->name));
    return {true, nullptr};
  }
  if (tensor->shape != shape) {
    source.complain(ErrorCode::kCorrupt, name,
                    fmt::format("expected {}, got {}", shape_text(shape), shape_text(tensor->shape)));
    return {true, nullptr};
  }
  return {true, std::make_shared<GgmlMatrix>(*type, *blocks, *tensor, rows_of(shape), shape.back())};
}

}  // namespace kl
