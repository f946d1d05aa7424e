#pragma once
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "engine/state_store.h"
#include "engine/text.h"
#include "engine/time_sharing.h"

namespace kl {

/// What the engine's thread does: takes requests in, and makes one step after another.
///
/// A step is one call of Model::forward over the next token of every text that is being written and pieces of the
/// prompts that are being read.  In between, texts begin and end, and checkpoints are kept.  What a text feeds and what
/// comes of its logits is its TextMachine's business.
///
///     waiting ──slot free──> read ──prompt read──> written ──end──> finished (its state stays in the store)
///        ^                                            │ its reader is too slow, others wait
///        └───────────────── parked <─────────────────┘
///
/// Thread safety: none, but for beat() and the const methods of model(); Engine owns the thread and the lock.
class EngineLoop {
 public:
  EngineLoop(Model model, const Tokenizer& tokenizer, const EngineOptions& options);

  void enqueue(std::shared_ptr<Submission> submission);

  /// One step; false if there is nothing to do until something happens outside.
  bool step();

  /// Ends everything that runs and waits: cancelled, or failed with `error`.
  void end_all(const std::optional<Error>& error);

  bool is_idle() const { return waiting_.empty() && parked_.empty() && num_running() == 0; }
  std::int64_t num_waiting() const { return std::ssize(waiting_) + std::ssize(parked_); }
  std::int64_t num_running() const;

  EngineStats stats() const;
  std::vector<SlotInfo> slots() const;

  /// What the last text that ended in this slot had read.  REQUIRES: a slot that exists and is not busy.
  std::vector<ReadToken>& last_text(int slot) { return slots_[static_cast<std::size_t>(slot)].last; }
  bool is_busy(int slot) const { return slots_[static_cast<std::size_t>(slot)].text != nullptr; }
  StateStore& store() { return store_; }
  Model& model() { return model_; }

  /// Somebody waits for a slow reader: look again soon.
  bool waits_for_readers() const { return num_running() > 0 || !parked_.empty(); }

  /// When the last pass ended, or step() found nothing to do.
  Clock::time_point beat() const { return beat_.load(std::memory_order_relaxed); }

 private:
  struct Slot {
    std::unique_ptr<Text> text;   // null: free
    std::vector<ReadToken> last;  // of the last text that ended here
    std::uint64_t last_request = 0;
  };
  class PassObserver;  // passes logits on

  std::unique_ptr<Text> make_text(std::shared_ptr<Submission> submission, int index) const;
  void sweep();
  void admit();
  void park_one_who_waits_for_its_reader();
  void start(std::unique_ptr<Text> text, Slot& slot);
  void branch(Text& text, std::span<const float> logits);
  std::vector<Slot*> choose();
  void choose_readers(std::span<Slot* const> readers, std::vector<Slot*>& chosen);
  void run(std::span<Slot* const> chosen);
  void forward(std::span<Slot* const> chosen);
  void on_logits(Text& text, std::int64_t index, std::span<const float> logits);
  void draw(Text& text, std::span<const float> logits);
  void end_pass(Slot& slot);
  void end(Slot& slot);
  void fail(Text& text, const Error& error);

  Model model_;
  const Tokenizer& tokenizer_;
  const EngineOptions options_;
  const MemoryPlan plan_;
  const MlaFormRule form_rule_;
  StateStore store_;
  TimeSharing sharing_;
  PassCost pass_cost_;
  std::vector<Slot> slots_;
  std::deque<std::unique_ptr<Text>> waiting_, parked_;
  std::size_t turn_ = 0;  // whose prompt is read first in the next step
  EngineStats counters_;
  std::atomic<Clock::time_point> beat_ = Clock::now();
};

}  // namespace kl
