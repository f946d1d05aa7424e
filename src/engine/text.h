#pragma once
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "engine/mailbox.h"
#include "generation/reading.h"
#include "generation/speculation.h"
#include "kl/engine.h"

namespace kl {

using Clock = std::chrono::steady_clock;

/// What the texts of a request share.
struct Job {
  std::uint64_t id = 0;
  EngineRequest request;
  std::shared_ptr<Mailbox> mailbox;
  Clock::time_point arrived = Clock::now();
  bool failed = false;

  bool is_unwanted() const { return failed || mailbox->cancelled(); }
  bool is_late(Clock::time_point now) const { return request.deadline && now >= *request.deadline; }
};

/// The end of a prompt, from which the texts of a request with n > 1 branch off.
struct PromptEnd {
  SequenceState state;
  std::vector<float> logits;  // after the prompt's last token
};

/// One text in the making.
///
/// A text is read (its prompt, piece by piece) and then decoded (token by token).  All of it lives in the engine's thread.
/// It may lose its slot on the way and start again from a checkpoint: what it has said so far is then read like a prompt.
struct Text {
  /// Drafts of at most max_draft tokens; 0: none.
  Text(std::shared_ptr<Job> its_job, int its_index, const Tokenizer& tokenizer, std::vector<ReadToken> prompt,
       int max_draft);

  std::shared_ptr<Job> job;
  int index;                      // among the job's texts
  std::vector<ReadToken> tokens;  // prompt and what was drawn
  std::int64_t prompt_tokens;     // of these
  Continuation continuation;      // draws, detects the end
  std::optional<Speculation> speculation;
  SequenceState state;               // without a value while the text has no slot
  std::shared_ptr<PromptEnd> begin;  // where to start from instead of reading
  std::vector<std::int64_t> stops;   // positions where a checkpoint is wanted, ascending
  std::vector<SampledToken> scores;  // of the prompt, if asked for

  bool started = false;   // had a slot before
  bool branched = false;  // the job's other texts have begun
  std::int64_t cached_tokens = 0;
  CacheMiss miss = CacheMiss::kNone;
  Clock::time_point began, decoding_since;  // got a slot; the prompt was read

  std::int64_t fed() const { return state.num_tokens(); }
  std::int64_t length() const { return std::ssize(tokens); }
  std::int64_t unread() const { return length() - fed(); }

  /// Something besides the token drawn last is still to be read.
  bool is_reading() const { return unread() > 1 || length() == prompt_tokens; }
  bool is_finished() const { return continuation.finished(); }

  /// Tokens of the next call: up to `most`, in one form, not past the next place for a checkpoint.
  std::int64_t piece(std::int64_t most) const;

  /// Sends an event about this text.
  void tell(EngineEvent event) const;
  void tell_progress();
  void tell_tokens(std::string text);
  /// Also for the job's other texts if they never began.
  void tell_finished(std::string rest);

 private:
  std::size_t told_ids_ = 0;
  EngineEvent news(EngineEvent::Kind kind, std::string text);
};

/// Where checkpoints of a prompt pay, ascending: the end of its last message and of the one before it (the next turn and
/// an edit of the last message go on there), ends of other messages that are at least 256 tokens apart, and inside of long
/// messages at distances from their end that double, so that an edit near the end of a long text costs little.
/// Where something else follows the last message, such as all of a raw prompt, near its end too: it may be asked again.
/// Nothing at or before `from`, nothing behind the last but one token: the last one must be read for its logits.
std::vector<std::int64_t> checkpoint_positions(std::span<const ReadToken> prompt, const Reading& reading,
                                               std::int64_t from);

}  // namespace kl
