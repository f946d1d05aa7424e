#pragma once
#include <string>
#include <string_view>

namespace kl {

/// Appends the bytes that `text` spells in GPT-2's alphabet: 188 printable Latin-1 characters stand for themselves, the other
/// 68 bytes, in ascending order, are U+0100 to U+0143.  False if some character is of no such kind.
/// Source    bytes_to_unicode() of GPT-2's encoder.py.
bool append_gpt2_bytes(std::string_view text, std::string& bytes);

/// The other way: appends the characters that stand for these bytes.
void append_gpt2_text(std::string_view bytes, std::string& text);

}  // namespace kl
