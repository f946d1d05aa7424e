// Feeds the parser of tiktoken.model, and encodes with whatever vocabulary comes out of it.
//
// The input is the text of a tiktoken.model file up to the first NUL byte, and a text to encode after it.  The file
// text is parsed twice: as it is, and as what follows the 256 single bytes, so that vocabularies with merges are easily
// found.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "base/utf8.h"
#include "kl/error.h"
#include "kl/tokenizer.h"
#include "text/tokenizer_files.h"

namespace {

std::string single_bytes() {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    text += {kAlphabet[byte >> 2], kAlphabet[(byte & 3) << 4], '=', '=', ' '};
    text += std::to_string(byte) + "\n";
  }
  return text;
}

/// Nothing if the text is refused; any other exception ends the program.
std::optional<kl::Tokenizer> parse(std::string tiktoken_model) {
  kl::TokenizerTexts texts;
  texts.tiktoken_model = std::move(tiktoken_model);
  texts.tokenizer_config = R"({"added_tokens_decoder": {}})";
  try {
    return kl::Tokenizer(kl::parse_tokenizer_files(texts, "fuzz/tiktoken.model"));
  } catch (const kl::Error&) {
    return std::nullopt;
  }
}

void require(bool holds) {
  if (!holds) std::abort();
}

void check_encoding(const kl::Tokenizer& tokenizer, std::string_view bytes) {
  std::string back;
  for (const kl::Token id : tokenizer.encode_bytes(bytes)) back += tokenizer.bytes_of(id);
  require(back == bytes);

  const std::string text = kl::replace_ill_formed(bytes);
  const std::vector<kl::Token> ids = tokenizer.encode(bytes);
  require(ids == tokenizer.encode(text));
  require(ids == tokenizer.encode_bytes(text));
  require(tokenizer.decode(ids) == text);
  require(tokenizer.decode(tokenizer.encode(bytes, kl::SpecialText::kControl)) == text);

  kl::StreamDecoder decoder(tokenizer);
  std::string streamed;
  for (const char byte : bytes) streamed += decoder.push(tokenizer.encode_bytes({&byte, 1})[0]);
  require(streamed + decoder.finish() == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const kl::Tokenizer bytes_only = parse(single_bytes()).value();
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t file_bytes = std::min(input.find('\0'), size);
  const std::string file(input.substr(0, file_bytes));
  const std::string_view text = input.substr(std::min(file_bytes + 1, size));

  parse(file);
  const std::optional<kl::Tokenizer> tokenizer = parse(single_bytes() + file);
  check_encoding(tokenizer ? *tokenizer : bytes_only, text);
  return 0;
}
