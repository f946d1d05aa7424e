#pragma once
#include <optional>
#include <string>
#include <vector>

#include "convert/model_output.h"
#include "convert/source_model.h"
#include "text/tokenizer_files.h"

namespace kl {

/// The source's tokenizer, if it has one.  Throws Error(kCorrupt) if that is broken.
std::optional<TokenizerFiles> find_tokenizer(const SourceModel& source);

/// Its chat template as text, if there is one.
std::optional<std::string> find_chat_template(const SourceModel& source);

/// The files of a model folder that say nothing about how weights lie: copied from a folder, made of the metadata of a GGUF file.
std::vector<FolderText> tokenizer_texts(const SourceModel& source);

}  // namespace kl
