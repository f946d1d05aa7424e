#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kl/tokenizer.h"

namespace kl {

/// What a chat template is given; JSON texts, as they came.
struct ChatInput {
  std::string messages;               ///< JSON array of messages
  std::string tools;                  ///< JSON array of tool declarations, or empty: none
  bool add_generation_prompt = true;  ///< end with the beginning of an answer
  std::string variables;              ///< JSON object of further variables (chat_template_kwargs), or empty
};

/// A chat template: the program, in a subset of Jinja, that makes one text of a conversation.
///
/// Role      what Hugging Face's apply_chat_template does, for the checkpoint's own template or the built-in one.
/// Safety    a template is data of a stranger: it runs without access to anything but its input, and is bounded in steps,
///           depth and output.  Text of messages can never become a control token: render_ids() knows which characters
///           came from the template itself.
/// Thread safety: const; may be used by any number of threads.
class ChatTemplate {
 public:
  /// Throws Error(kUnsupported) naming line and construct.  `name` is how errors call the template.
  static ChatTemplate parse(std::string_view source, std::string name);

  /// The Kimi Linear chat format: no default system turn, no BOS, no newlines between turns, tools as the K2 family has
  /// them.
  ///
  ///     <|im_user|>user<|im_middle|>CONTENT<|im_end|><|im_assistant|>assistant<|im_middle|>...
  static ChatTemplate builtin();

  /// `choice` empty: the model's own (DIR/chat_template.jinja, else the field chat_template of tokenizer_config.json,
  /// else tokenizer.chat_template of a GGUF file), else builtin().  "builtin": that.  Anything else: that file.
  /// Throws as parse(), Error(kNotFound) without the file, Error(kCorrupt) on a broken tokenizer_config.json.
  static ChatTemplate open(const std::filesystem::path& model, const std::string& choice = {});

  /// The rendered text, control tokens spelled out.
  /// Throws Error(kInvalidArgument) with the template's own words where it raises an exception or breaks a limit, and
  /// Error(kCorrupt) where the input is no JSON.
  std::string render(const ChatInput& input) const;

  /// The ids the model should see: control tokens only where the template itself wrote them.  With `from_byte` only
  /// those of the text from there on, for one who has fed what comes before.
  /// Throws as render(), and Error(kUnsupported) where the vocabulary lacks what the built-in format needs.
  std::vector<Token> render_ids(const Tokenizer& tokenizer, const ChatInput& input, std::size_t from_byte = 0) const;

  const std::string& source() const;  ///< the template as it was read
  const std::string& name() const;    ///< where it comes from, for messages

 private:
  struct Impl;
  explicit ChatTemplate(std::shared_ptr<const Impl> impl);  ///< for load() and the like
  std::shared_ptr<const Impl> impl_;
};

}  // namespace kl
