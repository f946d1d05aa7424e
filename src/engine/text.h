#pragma once
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "engine/mailbox.h"
#include "generation/text_machine.h"
#include "kl/engine.h"

namespace kl {

using Clock = std::chrono::steady_clock;

/// A request that was accepted: what its texts share.
struct Submission {
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

/// One text of a submission, and what it has to do with others: slot, checkpoints, siblings, its reader.
///
/// All of it lives in the engine's thread.  It may lose its slot on the way and start again from a checkpoint: what it
/// has said so far is then read like a prompt.
struct Text {
  Text(std::shared_ptr<Submission> its_submission, int its_index, const Tokenizer& tokenizer, const MlaFormRule& form,
       const TextMachine::Setting& setting);

  std::shared_ptr<Submission> submission;
  int index;            // among the submission's texts
  SequenceState state;  // without a value while the text has no slot
  TextMachine machine;
  std::shared_ptr<PromptEnd> begin;  // where to start from instead of reading
  std::vector<std::int64_t> stops;   // positions where a checkpoint is wanted, ascending
  std::vector<SampledToken> scores;  // of the prompt, if asked for

  bool started = false;   // had a slot before
  bool branched = false;  // the submission's other texts have begun
  std::int64_t cached_tokens = 0;
  CacheMiss miss = CacheMiss::kNone;
  Clock::time_point began;  // got a slot

  const EngineRequest& request() const { return submission->request; }
  bool is_over() const { return submission->failed || machine.finished(); }

  /// Tokens of the next pass while the text is read: up to `most`, in one form, not past the next place for a
  /// checkpoint.
  std::int64_t piece(std::int64_t most) const;

  /// Whether logits in the chosen pass score tokens of the prompt.
  bool is_scored() const;

  TokenCounts counts() const;

  // Events about this text.
  void send(EngineEvent event) const;
  void send_progress();
  void send_tokens(std::string text);
  /// Also for the submission's other texts if they never began.
  void send_finished(std::string rest);

 private:
  std::size_t sent_ids_ = 0;
  EngineEvent event_of_new_tokens(EngineEvent::Kind kind, std::string text);
};

/// Where checkpoints of a prompt pay, ascending: the end of its last message and of the one before it (the next turn
/// and an edit of the last message go on there), ends of other messages that are at least 256 tokens apart, and inside
/// of long messages at distances from their end that double, so that an edit near the end of a long text costs little.
/// Where something else follows the last message, such as all of a raw prompt, near its end too: it may be asked again.
/// Nothing at or before `from`, nothing behind the last but one token: the last one must be read for its logits.
std::vector<std::int64_t> checkpoint_positions(std::span<const ReadToken> prompt, const MlaFormRule& form,
                                               std::int64_t from);

}  // namespace kl
