// Any bytes are a safetensors file or an Error; nothing else may happen.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "checkpoint/safetensors_header.h"
#include "kl/error.h"
#include "kl/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const std::string_view file(reinterpret_cast<const char*>(data), size);
    const kl::SafetensorsHeader header = kl::parse_safetensors_header(file, "fuzz");
    // What was accepted must lie inside the file, fill it, and have the size that its type and shape ask for.
    std::size_t sum = header.data_offset;
    for (const auto& [name, tensor] : header.tensors) {
      if (tensor.begin > tensor.end || header.data_offset + tensor.end > size) std::abort();
      sum += tensor.end - tensor.begin;
      long double bits = kl::safetensors_dtype_bits(tensor.dtype);  // never wraps
      for (const std::int64_t dim : tensor.shape) bits *= static_cast<long double>(dim);
      if (bits != 8 * static_cast<long double>(tensor.end - tensor.begin)) std::abort();
    }
    if (sum != size) std::abort();
  } catch (const kl::Error&) {}
  return 0;
}
