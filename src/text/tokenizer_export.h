#pragma once
// A tokenizer as other formats have it.
#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer_files.h"

namespace kl {

/// The text of tiktoken.model.
std::string tiktoken_text(const TokenizerFiles& files);

/// tokenizer_config.json, as far as this program reads it: the names of control tokens.
std::string tokenizer_config_text(const TokenizerFiles& files);

/// The vocabulary as llama.cpp's converter writes it: bytes in GPT-2's alphabet.
struct GgufVocabulary {
  std::vector<std::string> tokens;  ///< [vocab_size]; "[PAD{id}]" where there is no name
  std::vector<std::int32_t> types;  ///< 1 normal, 3 control, 4 control that stays visible, 5 unused
  std::vector<std::string> merges;  ///< "left right", in the order of the ranks they make
};

/// A rank that no merge of two lower ones makes has no merge: it is never found in a text.
GgufVocabulary gguf_vocabulary(const TokenizerFiles& files, int vocab_size);

}  // namespace kl
