#pragma once
#include <filesystem>

namespace kl {

/// Is this file a GGUF model, by its name (*.gguf) or its first bytes?  Wherever a model folder is asked for, such a file will
/// do as well: ModelArgs::load, Tokenizer::open, Model::open, inspect.
bool is_gguf(const std::filesystem::path& path);

}  // namespace kl
