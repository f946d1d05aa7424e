#include "text/tokenizer_export.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "text/gpt2_bytes.h"

namespace kl {
namespace {

std::string gpt2_text(std::string_view bytes) {
  std::string text;
  append_gpt2_text(bytes, text);
  return text;
}

/// The two tokens that make `rank`: what byte-pair encoding of its bytes comes to with lower ranks only.  Empty if it
/// does not come to two.
std::string merge_of(const Vocabulary& vocabulary, std::uint32_t rank) {
  const std::string_view bytes = vocabulary.bytes_of(rank);
  std::vector<std::size_t> starts;
  for (std::size_t i = 0; i <= bytes.size(); ++i) starts.push_back(i);
  while (starts.size() > 3) {
    std::size_t best = 0;
    std::uint32_t least = rank;
    for (std::size_t i = 0; i + 2 < starts.size(); ++i) {
      const std::uint32_t made = vocabulary.rank_of(bytes.substr(starts[i], starts[i + 2] - starts[i]));
      if (made < least) best = i + 1, least = made;
    }
    if (best == 0) return {};
    starts.erase(starts.begin() + static_cast<std::ptrdiff_t>(best));
  }
  return gpt2_text(bytes.substr(0, starts[1])) + ' ' + gpt2_text(bytes.substr(starts[1]));
}

}  // namespace

std::string tiktoken_text(const TokenizerFiles& files) {
  std::string text;
  for (std::uint32_t rank = 0; rank < files.vocabulary.size(); ++rank)
    text += fmt::format("{} {}\n", to_base64(files.vocabulary.bytes_of(rank)), rank);
  return text;
}

std::string tokenizer_config_text(const TokenizerFiles& files) {
  nlohmann::ordered_json tokens = nlohmann::ordered_json::object();
  for (std::size_t i = 0; i < files.control.size(); ++i) {
    const Token id = files.control.first() + static_cast<Token>(i);
    const ControlToken& token = files.control[id];
    if (token.name == reserved_token_name(id)) continue;
    tokens[std::to_string(id)] = {{"content", token.name}, {"special", token.is_skipped}};
  }
  return nlohmann::ordered_json{{"added_tokens_decoder", tokens}}.dump(2) + "\n";
}

GgufVocabulary gguf_vocabulary(const TokenizerFiles& files, int vocab_size) {
  enum : std::int32_t { kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5 };
  GgufVocabulary out;
  for (std::uint32_t rank = 0; rank < files.vocabulary.size(); ++rank) {
    out.tokens.push_back(gpt2_text(files.vocabulary.bytes_of(rank)));
    out.types.push_back(kNormal);
    if (files.vocabulary.bytes_of(rank).size() < 2) continue;
    if (std::string merge = merge_of(files.vocabulary, rank); !merge.empty()) out.merges.push_back(std::move(merge));
  }
  for (auto id = static_cast<Token>(out.tokens.size()); id < vocab_size; ++id) {
    const bool is_named = files.control.contains(id) && files.control[id].name != reserved_token_name(id);
    out.tokens.push_back(is_named ? files.control[id].name : fmt::format("[PAD{}]", id));
    out.types.push_back(!is_named ? kUnused : files.control[id].is_skipped ? kControl : kUserDefined);
  }
  return out;
}

}  // namespace kl
