#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "convert/encoder_choice.h"
#include "convert/source_model.h"
#include "kl/convert.h"

namespace kl {

/// A small file of a model folder.
struct FolderText {
  std::string file, text;
};

/// A model folder before it is written.
struct ModelOutput {
  std::vector<OutputModule> modules;  ///< in the order of the files
  std::vector<FolderText> texts;      ///< tokenizer, card
  std::string config;                 ///< config.json, written last; empty for GGUF
  std::string job;                    ///< JSON: what would have to be equal for another run to write the same bytes
  std::string gguf_keys;              ///< not empty: GGUF, with these metadata
  std::uint64_t gguf_key_count = 0;
};

/// Writes the weights of a model in files of some gigabytes, then everything else.
/// Errors    as convert().
ConvertResult write_model(const SourceModel& source, const std::filesystem::path& to, const ModelOutput& output,
                          const ConvertOptions& options);

}  // namespace kl
