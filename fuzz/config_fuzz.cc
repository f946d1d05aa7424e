// Any text is a configuration or an Error; an accepted one survives being written and read again, and is small enough
// for everything that walks over its tensors.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "config/tensor_table.h"
#include "kl/error.h"
#include "kl/model_args.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  kl::ModelArgs args;
  try {
    args = kl::ModelArgs::parse(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz");
  } catch (const kl::Error&) {
    return 0;
  }
  const std::string written = args.to_json();
  const kl::ModelArgs again = kl::ModelArgs::parse(written, "again");  // must not throw
  if (again.to_json() != written || again.layer_kinds != args.layer_kinds) std::abort();
  if (kl::released_size(args).tensors > 1e6) std::abort();
  for (int i = 0; i < args.num_hidden_layers; ++i) {
    if (args.is_moe(i) != again.is_moe(i)) std::abort();
  }
  return 0;
}
