#pragma once
#include <optional>
#include <string>
#include <vector>

#include "cli/conversation.h"
#include "cli/engine.h"
#include "kl/chat_template.h"
#include "kl/generate.h"

namespace kl::cli {

/// A conversation that lives in the model's state: every turn feeds only what is new.
///
/// How       the whole conversation is rendered for every answer; if it goes on where the text in the state ends, only the
///           rest is fed.  A template that writes earlier turns anew, such as one that leaves out thoughts, makes the model
///           read everything again.
/// Invariant state and pending of a Moment are its text: what the template made, and the answers as the model wrote them.
///           The last token drawn is never in the state, so it waits to be read with the next message.
class ChatSession {
 public:
  /// `engine` must outlive the session.  Answer number i (from 0) is drawn with seed options.sampling.seed + i.
  ChatSession(Engine& engine, ChatTemplate chat_template, GenerateOptions options, std::string system);

  /// Sends a message and returns the answer.  If it was cancelled before its first token, the message is taken back.
  /// Throws what the template throws; the message is taken back then, too.
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
  std::int64_t num_tokens() const { return moment_.state.num_tokens(); }

 private:
  /// Where the conversation stands.
  struct Moment {
    SequenceState state;
    std::vector<Token> pending;  // to be fed before anything else
    std::string text;            // that state and pending hold
  };

  Moment with_prompt() const;
  GenerateResult answer(const GenerateHooks& hooks);

  Engine& engine_;
  ChatTemplate template_;
  GenerateOptions options_;
  std::string system_;
  std::uint64_t num_answers_ = 0;

  Moment moment_;
  std::vector<Message> messages_;
  std::optional<Moment> before_answer_;
};

}  // namespace kl::cli
