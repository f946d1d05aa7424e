#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "text/control_tokens.h"
#include "text/vocabulary.h"

namespace kl {

/// What the files of a model folder say about its tokenizer, checked against each other.
struct TokenizerFiles {
  Vocabulary vocabulary;
  ControlTokens control;
  std::vector<Token> stop_tokens;  ///< generation_config.json's or config.json's first, then the family's; no repeats
  bool has_chat_template = false;  ///< chat_template.jinja, or a field of tokenizer_config.json or of a GGUF file
};

/// Reads tiktoken.model and, where present, tokenizer_config.json, config.json and generation_config.json by the rules
/// in kl/tokenizer.h.  Throws Error(kNotFound) without tiktoken.model, Error(kCorrupt) with everything wrong in the
/// JSON files at once.  If `dir` is a file, it is the ranks, and there are no others, or a GGUF model (gguf_tokenizer.h).
TokenizerFiles read_tokenizer_files(const std::filesystem::path& dir);

/// The contents of those files.
struct TokenizerTexts {
  std::string tiktoken_model;
  std::optional<std::string> tokenizer_config;
  std::optional<std::string> config;
  std::optional<std::string> generation_config;
};

/// The same from memory; `ranks`, the path of the file with the ranks, stands in messages only.
TokenizerFiles parse_tokenizer_files(const TokenizerTexts& texts, const std::filesystem::path& ranks);

}  // namespace kl
