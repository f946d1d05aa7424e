#pragma once
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/conversation.h"
#include "cli/loaded_model.h"
#include "kl/chat_template.h"
#include "kl/generate.h"

namespace kl::cli {

/// A conversation that lives in the model's state: every turn feeds only what is new.
///
/// How       the whole conversation is rendered for every answer; if it goes on where the text in the state ends, only
///           the rest is fed.  A template that writes earlier turns anew, such as one that leaves out thoughts, makes
///           the model read everything again.
/// Invariant state and pending of a Moment are its text: what the template made, and the answers as the model wrote
///           them.  The last token drawn is never in the state, so it waits to be read with the next message.
class ChatSession {
 public:
  /// `loaded` must outlive the session.  Answer number i (from 0) is drawn with seed options.sampling.seed + i,
  /// and with up to max_draft tokens tried at once (generate()); the conversation has at most ctx_size tokens.
  ChatSession(LoadedModel& loaded, ChatTemplate chat_template, GenerateOptions options, int max_draft,
              std::string system, std::int64_t ctx_size);

  /// Sends a message and returns the answer.  If it was cancelled before its first token, the message is taken back.
  /// Throws what the template and generate() throw, and Error(kInvalidArgument) if the context has no room for it; the
  /// message is taken back then, too.
  GenerateResult ask(const std::string& message, const GenerateHooks& hooks);

  /// Draws another answer to the last message, from the state as it was before the first one.  If it was cancelled
  /// before its first token, or throws as ask() does, the answer stays.
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
  /// Throws as load_session() does, and Error(kCorrupt) for a session that save() did not write; nothing has changed
  /// then.
  void resume(const std::filesystem::path& path, bool keep_seed);

  const std::vector<Message>& messages() const { return messages_; }
  const std::string& system() const { return system_; }
  std::int64_t num_tokens() const { return moment_.state.num_tokens(); }
  bool is_full() const { return room(moment_) <= 0; }  ///< the context has no token left

 private:
  /// Where the conversation stands.
  struct Moment {
    SequenceState state;
    std::vector<ReadToken> read;  // what the state has read
    std::vector<Token> pending;   // to be fed before anything else
    std::string text;             // that state and pending hold
  };

  Moment nothing_read() const { return {loaded_.model.make_cache(), {}, {}, {}}; }
  Moment with_prompt() const;
  GenerateResult answer(Moment& m, const GenerateHooks& hooks);
  std::int64_t room(const Moment& m) const { return ctx_size_ - m.state.num_tokens() - std::ssize(m.pending); }

  LoadedModel& loaded_;
  ChatTemplate template_;
  GenerateOptions options_;
  int max_draft_;
  std::string system_;
  std::int64_t ctx_size_;
  std::uint64_t num_answers_ = 0;

  Moment moment_;
  std::vector<Message> messages_;
  std::optional<Moment> before_answer_;
};

}  // namespace kl::cli
