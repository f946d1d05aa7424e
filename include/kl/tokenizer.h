#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kl {

/// A token id.  Ranks of tiktoken.model come first, control tokens after them.
using Token = std::int32_t;

/// How encode() treats text that spells a control token, such as "<|im_end|>".
enum class SpecialText {
  kOrdinary,  ///< it is text like any other: the only safe choice for what a user typed
  kControl,   ///< it becomes the control token, as the reference tokenizer does by default
};

/// The exact tokenizer of the Kimi family: `tiktoken.model` ranks, the family's pre-tokeniser pattern (Unicode 16.0.0)
/// and the control tokens named by tokenizer_config.json, overlaid on the family's table.
///
/// Thread safety: const after open(); all methods may be called from many threads.
class Tokenizer {
 public:
  /// Opens DIR/tiktoken.model with DIR/tokenizer_config.json, DIR/config.json and DIR/generation_config.json where
  /// present. DIR may hold nothing but tiktoken.model.  Throws Error(kNotFound | kCorrupt) naming file and line.
  static Tokenizer open(const std::filesystem::path& dir);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Text to ids.  Never fails: ill-formed UTF-8 counts as U+FFFD per maximal ill-formed subpart.  Linear in the
  /// length.
  std::vector<Token> encode(std::string_view text, SpecialText special = SpecialText::kOrdinary) const;

  /// Bytes to ids without loss: decode() of the result gives the same bytes, well-formed or not.
  std::vector<Token> encode_bytes(std::string_view bytes) const;

  /// Ids to text; incomplete or ill-formed characters become U+FFFD.  Throws Error(kInvalidArgument) on an id >=
  /// vocab_size().
  std::string decode(std::span<const Token> ids, bool skip_special = false) const;

  /// The raw bytes of one id.  Throws as decode().
  std::string_view bytes_of(Token id) const;

  bool is_special(Token id) const;  ///< one of the control slots
  bool is_skipped(Token id) const;  ///< a control token left out by skip_special (tool markers stay visible)
  int vocab_size() const;           ///< ranks + control slots
  int num_ranks() const;

  /// The id of a control token by name, or -1.
  Token special_id(std::string_view name) const;

  /// Ids that end a text: generation_config.json's eos ids, else config.json's, joined with the family's end tokens
  /// (<|im_end|>, [EOS], [EOT]) this vocabulary has.
  std::span<const Token> stop_tokens() const;

 private:
  friend class StreamDecoder;
  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

/// Ids to text one at a time, never emitting half a character.
///
/// Invariant: the concatenation of all push() results and finish() equals Tokenizer::decode() of all ids.
class StreamDecoder {
 public:
  /// `tokenizer` must outlive the decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = false);

  /// The text that has become certain with this id; may be empty.  Holds back at most 3 bytes.
  std::string push(Token id);

  /// What is left, with U+FFFD for an unfinished character; resets the decoder.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string pending_;
};

}  // namespace kl
