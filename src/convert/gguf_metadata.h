#pragma once
#include <optional>
#include <string>

#include "gguf/gguf_writer.h"
#include "kl/model_args.h"
#include "text/tokenizer_files.h"

namespace kl {

/// What besides config.json goes into the metadata.
struct GgufMetadataParts {
  std::string name;                           ///< of the model, for people
  std::uint32_t file_type = 0;                ///< llama.cpp's number of the type most weights have
  const TokenizerFiles* tokenizer = nullptr;  ///< may be null: then llama.cpp takes tokens, but no text
  std::optional<std::string> chat_template;
};

/// Throws Error(kUnsupported), naming every field, if llama.cpp would compute something else than config.json says.
void require_gguf_model(const ModelArgs& args, const std::string& name);

/// The metadata that llama.cpp's loader of kimi-linear wants; gguf_config_json() (config/gguf_config.h) reads them back.
/// Source    convert_hf_to_gguf.py and llama-model.cpp.
GgufMetadata gguf_metadata(const ModelArgs& args, const GgufMetadataParts& parts);

}  // namespace kl
