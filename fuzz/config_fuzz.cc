// Any text is a configuration or an Error; an accepted one survives being written and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "kl/error.h"
#include "kl/model_args.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  kl::ModelArgs args;
  try {
    args = kl::ModelArgs::parse(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz");
  } catch (const kl::Error&) {
    return 0;
  }
  kl::ModelArgs again = kl::ModelArgs::parse(args.to_json(), "again");  // must not throw
  args.unknown_keys.clear();
  if (again.num_hidden_layers != args.num_hidden_layers || again.layer_kinds != args.layer_kinds) std::abort();
  for (int i = 0; i < args.num_hidden_layers; ++i) {
    if (args.is_moe(i) != again.is_moe(i)) std::abort();
  }
  return 0;
}
