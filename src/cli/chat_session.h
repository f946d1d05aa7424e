#pragma once
#include <optional>
#include <string>
#include <vector>

#include "cli/engine.h"
#include "kl/chat.h"
#include "kl/generate.h"

namespace kl::cli {

/// A conversation that lives in the model's state: every turn feeds only what is new.
///
/// Invariant: the state followed by `unread_` is the whole conversation as the model sees it.  The last token drawn is
/// never in the state, so an answer leaves it, and the end of its turn, to be read with the next message.
class ChatSession {
 public:
  /// `engine` must outlive the session.  Answer number i (from 0) is drawn with seed options.sampling.seed + i.
  /// Throws Error(kUnsupported) if the tokenizer lacks a control token of the chat format.
  ChatSession(Engine& engine, GenerateOptions options, std::string system);

  /// Sends a message and returns the answer.  If it was cancelled before its first token, the message is taken back.
  GenerateResult ask(const std::string& message, const GenerateHooks& hooks);

  /// Draws another answer to the last message, from the state as it was before the first one.
  /// REQUIRES: can_regenerate().
  GenerateResult regenerate(const GenerateHooks& hooks);
  bool can_regenerate() const { return before_answer_.has_value(); }

  /// Forgets everything but the system message.
  void reset();
  /// A system message comes first, so a new one starts a new conversation.
  void set_system(std::string system);

  const std::vector<Message>& messages() const { return messages_; }
  std::int64_t num_tokens() const { return state_.num_tokens(); }

 private:
  struct Snapshot {
    SequenceState state;
    std::vector<Token> prompt;  // fed from there before the answer
  };

  GenerateResult answer(const GenerateHooks& hooks);

  Engine& engine_;
  ChatFormat format_;
  GenerateOptions options_;
  std::string system_;
  std::uint64_t num_answers_ = 0;

  SequenceState state_;
  std::vector<Token> unread_;
  std::vector<Message> messages_;
  std::optional<Snapshot> before_answer_;
};

}  // namespace kl::cli
