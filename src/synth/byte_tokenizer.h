#pragma once
#include <string>

namespace kl {

/// The plainest tokenizer a made-up model can have: one token per byte, then the control tokens of the chat format.
///
/// Role      `kl synth` writes it where no real vocabulary is given, so that the folder runs in every command.
inline constexpr int kByteTokenizerIds = 256 + 8;

/// tiktoken.model: lines "base64(byte) rank" for the ranks 0 to 255.
std::string byte_tokenizer_ranks();

/// tokenizer_config.json: names for the ids 256 to kByteTokenizerIds - 1.
std::string byte_tokenizer_config();

}  // namespace kl
