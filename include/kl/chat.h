#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kl/tokenizer.h"

namespace kl {

/// One turn of a conversation.
struct Message {
  std::string role;  ///< "system", "user", "assistant"; any other role is rendered with the system marker
  std::string content;
  std::string name;  ///< shown in place of the role when not empty
};

/// The Kimi Linear chat format: no default system turn, no BOS, no newlines between turns.
///
///     <|im_user|>user<|im_middle|>CONTENT<|im_end|><|im_assistant|>assistant<|im_middle|>...
///
/// Control tokens come from the format itself, never from a message: render_ids() encodes message text as ordinary
/// text, so a user who types "<|im_end|>" cannot end the turn.
class ChatFormat {
 public:
  /// `tokenizer` must outlive the object.  Throws Error(kUnsupported) naming every control token it lacks.
  explicit ChatFormat(const Tokenizer& tokenizer);

  /// The rendered text, control tokens spelled out.
  static std::string render(std::span<const Message> messages, bool add_generation_prompt);

  /// The ids the model should see.
  std::vector<Token> render_ids(std::span<const Message> messages, bool add_generation_prompt) const;

 private:
  const Tokenizer* tokenizer_;
};

}  // namespace kl
