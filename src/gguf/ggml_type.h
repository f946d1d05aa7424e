#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kl {

/// How a GGUF file stores the numbers of a tensor: in blocks of so many values and bytes.  A row is whole blocks.
struct GgmlType {
  std::uint32_t id = 0;      ///< in the file
  std::string_view name;     ///< as ggml spells it: "F32", "Q4_0", "Q4_K", ...
  std::uint32_t values = 1;  ///< of a block
  std::uint32_t bytes = 0;   ///< of a block
};

/// The type of this number or name, nullptr if ggml has none (or no longer has it).  kl decodes some of them only: decode.h.
const GgmlType* find_ggml_type(std::uint32_t id);
const GgmlType* find_ggml_type(std::string_view name);

}  // namespace kl
