#include "verify/number_layout.h"

#include "gguf/ggml_type.h"
#include "packing/packed_name.h"

namespace kl {

NumberLayout number_layout(std::string_view name, const FileTensor& tensor) {
  const auto type = parse_number_type(tensor.dtype);
  if (type && !is_integer(*type)) return {*type, size_of(*type), 0, 1};
  if (type == NumberType::kU8) {
    if (const auto f = parse_packed_suffix(name.substr(name.rfind('.') + 1))) {
      const auto quants = static_cast<std::size_t>(f->quant_bytes()), bytes = static_cast<std::size_t>(f->tile_bytes());
      return {number_type(f->scale_type), bytes, quants, (bytes - quants) / size_of(f->scale_type)};
    }
  }
  const GgmlType* ggml = find_ggml_type(tensor.dtype);
  if (ggml != nullptr && ggml->num_f16 > 0) return {NumberType::kF16, ggml->bytes, ggml->f16_at, ggml->num_f16};
  return {};
}

std::size_t read_numbers(const NumberLayout& layout, const std::byte* data, std::size_t blocks, float* out) noexcept {
  if (layout.is_plain()) {
    read_numbers(layout.type, data, blocks, out);
    return blocks;
  }
  for (std::size_t b = 0; b < blocks; ++b) {
    read_numbers(layout.type, data + b * layout.block_bytes + layout.at, layout.count, out + b * layout.count);
  }
  return blocks * layout.count;
}

}  // namespace kl
