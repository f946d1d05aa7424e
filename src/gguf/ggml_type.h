#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kl {

/// How a GGUF file stores the numbers of a tensor: in blocks of so many values and bytes.  A row is whole blocks.
struct GgmlType {
  std::uint32_t id = 0;       ///< in the file
  std::string_view name;      ///< as ggml spells it: "F32", "Q4_0", "Q4_K", ...
  std::uint32_t values = 1;   ///< of a block
  std::uint32_t bytes = 0;    ///< of a block
  std::uint32_t f16_at = 0;   ///< where in a block its f16 scale begins, which its minimum or scale of minima follows
  std::uint32_t num_f16 = 0;  ///< how many they are: 1 or 2; 0 in types without
};

/// The type of this number or name, nullptr if ggml has none (or no longer has it).  kl reads some only: ggml_blocks.h.
const GgmlType* find_ggml_type(std::uint32_t id);
const GgmlType* find_ggml_type(std::string_view name);

}  // namespace kl
