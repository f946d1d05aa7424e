#pragma once
#include <filesystem>
#include <optional>
#include <span>
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
  /// `engine` must outlive the session.  Answer number i (from 0) is drawn with seed options.sampling.seed + i; the
  /// conversation has at most ctx_size tokens.
  /// Throws Error(kUnsupported) if the tokenizer lacks a control token of the chat format.
  ChatSession(Engine& engine, GenerateOptions options, std::string system, std::int64_t ctx_size);

  /// Sends a message and returns the answer.  If it was cancelled before its first token, the message is taken back.
  /// Throws Error(kInvalidArgument), with nothing changed, if the context has no room for it.
  GenerateResult ask(const std::string& message, const GenerateHooks& hooks);

  /// Draws another answer to the last message, from the state as it was before the first one.
  /// REQUIRES: can_regenerate().
  GenerateResult regenerate(const GenerateHooks& hooks);
  bool can_regenerate() const { return before_answer_.has_value(); }

  /// Forgets everything but the system message.
  void reset();
  /// A system message comes first, so a new one starts a new conversation.
  void set_system(std::string system);

  /// Writes the conversation and its state to a file that resume() goes on from, drawing what this object would draw.
  /// Throws as save_session() does.
  void save(const std::filesystem::path& path) const;

  /// Becomes the conversation of a file.  With `keep_seed` answers are drawn with the seed of the options all the same.
  /// Throws as load_session() does, and Error(kCorrupt) for a session that save() did not write; nothing has changed then.
  void resume(const std::filesystem::path& path, bool keep_seed);

  const std::vector<Message>& messages() const { return messages_; }
  const std::string& system() const { return system_; }
  std::int64_t num_tokens() const { return state_.num_tokens(); }
  bool is_full() const { return room() <= 0; }  ///< the context has no token left

 private:
  struct Snapshot {
    SequenceState state;
    std::vector<Token> prompt;  // fed from there before the answer
  };

  GenerateResult answer(const GenerateHooks& hooks);
  void note_read(std::span<const Token> tokens, std::span<const std::uint8_t> expanded);
  std::int64_t room() const { return ctx_size_ - num_tokens() - std::ssize(unread_); }

  Engine& engine_;
  ChatFormat format_;
  GenerateOptions options_;
  std::string system_;
  std::int64_t ctx_size_;
  std::uint64_t num_answers_ = 0;

  SequenceState state_;
  std::vector<Token> read_;             // what the state has read
  std::vector<std::uint8_t> expanded_;  // [read_] 1: in MLA's expanded form
  std::vector<Token> unread_;
  std::vector<Message> messages_;
  std::optional<Snapshot> before_answer_;
};

}  // namespace kl::cli
