// Any bytes are a GGUF file or an Error, whatever is then asked of it: the configuration, the tokenizer, the numbers.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "config/gguf_config.h"
#include "gguf/ggml_blocks.h"
#include "gguf/gguf_file.h"
#include "kl/error.h"
#include "kl/tokenizer.h"
#include "text/gguf_tokenizer.h"

namespace {

/// What was accepted must lie inside the file and have the size that its type and shape ask for.
void check_tensor(const kl::GgufFile::Tensor& tensor, std::string_view file) {
  const auto* begin = reinterpret_cast<const std::byte*>(file.data());
  if (tensor.data < begin || tensor.data + tensor.bytes > begin + file.size()) std::abort();
  long double bytes = tensor.type->bytes;  // never wraps
  std::int64_t elements = 1;
  for (const std::int64_t dim : tensor.shape) elements *= dim;
  bytes *= static_cast<long double>(elements / tensor.type->values);
  if (bytes != static_cast<long double>(tensor.bytes)) std::abort();
  const kl::GgmlBlocks* blocks = kl::find_ggml_blocks(tensor.type->name);
  if (blocks == nullptr || elements > 1 << 16) return;
  std::vector<float> numbers(static_cast<std::size_t>(elements));
  kl::decode_blocks(*blocks, tensor.data, elements, numbers.data());
}

template <class F>
void may_throw(F f) {
  try {
    f();
  } catch (const kl::Error&) {}
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  may_throw([&] {
    const auto file = kl::GgufFile::parse(bytes, "fuzz");
    for (const auto& [name, tensor] : file->tensors()) check_tensor(tensor, bytes);
    for (const auto& [key, value] : file->metadata()) {
      value.describe();
      value.number();
      value.texts();
      value.integers();
    }
    may_throw([&] { kl::gguf_model_args(*file); });
    may_throw([&] {
      const kl::Tokenizer tokenizer(kl::gguf_tokenizer_files(*file));
      tokenizer.encode("It's 2026, \xe6\x9c\x88.", kl::SpecialText::kControl);
    });
  });
  return 0;
}
