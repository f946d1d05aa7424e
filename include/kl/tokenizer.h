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

struct TokenizerFiles;

/// The exact tokenizer of the Kimi family: `tiktoken.model` ranks, the family's pre-tokeniser pattern (Unicode 16.0.0),
/// and control tokens in the slots behind the ranks.
///
/// The slots and their names
///   1. Slots are the ids from num_ranks() to vocab_size() - 1.  vocab_size() is `vocab_size` of config.json.  Where
///      that is missing, the family's vocabulary (163,584 ranks) has 256 slots; another one reaches to the highest id
///      that tokenizer_config.json names, or has 256 slots if it names none.
///   2. A slot's name and whether decoding may skip it (`special`) come from `added_tokens_decoder` of
///      tokenizer_config.json.
///   3. Behind the family's ranks a slot that the file leaves out or calls reserved has the name the family gives it:
///      some released folders lack the tool markers.
///   4. A slot that still has no name is called "<|reserved_token_ID|>" and is never skipped.
///   A GGUF file says the same in its metadata: ranks are its normal tokens, slots its other ones (docs/formats.md).
///   Names at ids below num_ranks(), or beyond the last slot unless reserved, and one name for two slots are errors.
///
/// Thread safety: const after open(); all methods may be called from many threads.
class Tokenizer {
 public:
  /// Opens DIR/tiktoken.model with DIR/tokenizer_config.json, DIR/config.json and DIR/generation_config.json where
  /// present. DIR may hold nothing but tiktoken.model, or be such a file itself, whatever its name, or a GGUF model.
  /// Throws Error(kNotFound | kCorrupt) naming file and line.
  static Tokenizer open(const std::filesystem::path& dir);

  /// From files already parsed, which only the library itself can do (src/text/tokenizer_files.h).
  explicit Tokenizer(TokenizerFiles files);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Text to ids, in linear time.  Never fails: ill-formed UTF-8 counts as U+FFFD per maximal ill-formed subpart.
  std::vector<Token> encode(std::string_view text, SpecialText special = SpecialText::kOrdinary) const;

  /// Bytes to ids without loss: bytes_of() of the ids, put together, give the same bytes, well-formed or not.
  /// Well-formed stretches are encoded as encode() does; an ill-formed stretch between them is one piece for BPE.
  std::vector<Token> encode_bytes(std::string_view bytes) const;

  /// Ids to text; incomplete or ill-formed characters become U+FFFD.
  /// Throws Error(kInvalidArgument) on an id outside [0, vocab_size()).
  std::string decode(std::span<const Token> ids, bool skip_special = false) const;

  /// The raw bytes of one id.  Throws as decode().
  std::string_view bytes_of(Token id) const;

  bool is_special(Token id) const;  ///< one of the control slots
  bool is_skipped(Token id) const;  ///< a control token left out by skip_special (tool markers stay visible)
  int vocab_size() const;           ///< ranks + control slots
  int num_ranks() const;            ///< tokens of tiktoken.model

  /// The id of a control token by name, or -1.
  Token special_id(std::string_view name) const;

  /// A place in a text that spells a control token.
  struct SpecialPlace {
    std::size_t position;
    std::size_t bytes;  ///< 0: there is none
    Token id;
  };

  /// The leftmost place at or after `from`; of several names that fit there, the longest.
  SpecialPlace find_special(std::string_view text, std::size_t from) const;

  /// Ids that end a text: generation_config.json's eos ids, else config.json's, joined with the family's end tokens
  /// (<|im_end|>, [EOS], [EOT]) this vocabulary has.
  std::span<const Token> stop_tokens() const;

  /// Does the model bring a chat template?  Models that answer in chats do, models that continue texts do not.
  bool has_chat_template() const;

 private:
  std::unique_ptr<const TokenizerFiles> files_;
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
