#include "synth/byte_tokenizer.h"

#include <nlohmann/json.hpp>
#include <string_view>

namespace kl {

std::string byte_tokenizer_ranks() {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string lines;
  for (unsigned byte = 0; byte < 256; ++byte) {
    lines += digits[byte >> 2];  // eight bits are two digits of six, the last four bits of the second unused
    lines += digits[(byte & 3) << 4];
    lines += "== " + std::to_string(byte) + "\n";
  }
  return lines;
}

std::string byte_tokenizer_config() {
  constexpr std::string_view names[] = {
      "[BOS]", "[EOS]", "<|im_end|>", "<|im_user|>", "<|im_assistant|>", "<|im_system|>", "<|im_middle|>", "[EOT]"};
  static_assert(std::size(names) == kByteTokenizerIds - 256);
  nlohmann::ordered_json tokens;
  int id = 256;
  for (const std::string_view name : names) tokens[std::to_string(id++)] = {{"content", name}, {"special", true}};
  return nlohmann::ordered_json{{"added_tokens_decoder", tokens}}.dump(2) + "\n";
}

}  // namespace kl
