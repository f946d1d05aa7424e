#pragma once
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kl/error.h"
#include "kl/generate.h"
#include "kl/model.h"
#include "kl/token_counts.h"
#include "kl/tokenizer.h"

namespace kl {

/// How an engine shares the model among many texts.
struct EngineOptions {
  int parallel = 4;               ///< texts in the making at once ("slots"); a request with n > 1 takes n of them
  std::int64_t ctx_size = 0;      ///< most tokens of one text; 0: what the model was trained for, if memory has room
  int max_queue = 512;            ///< requests that may wait; one more is refused with Error(kBusy)
  std::size_t cache_bytes = 0;    ///< memory for checkpoints of texts that are over; 0: an eighth of what is free
  double step_seconds = 0.1;      ///< while somebody decodes, prompts are read in pieces that take about so long
  bool speculate = false;         ///< draft tokens by prompt lookup where it pays; never changes a text
  int max_draft = 8;              ///< most tokens drafted at a time
  std::size_t event_queue = 256;  ///< events that may wait for their reader before its text pauses
};

/// The options with a value for every 0, as an engine runs with them.  Before weights are loaded too: plan_memory()
/// says what they will take.
///
/// `available`  bytes of memory for all that `plan` counts; 0: nobody knows.
/// Throws Error(kInvalidArgument) for options out of range, and Error(kOutOfMemory), naming the flag to lower, if there
/// is no memory for the slots at ctx_size tokens, or at 4096 where none are asked for.
EngineOptions resolve(EngineOptions options, const ModelArgs& args, const MemoryPlan& plan, std::size_t available);

/// One request: a prompt, and how it goes on.
struct EngineRequest {
  std::vector<Token> prompt;  ///< at least one token
  GenerateOptions options;
  int n = 1;                     ///< texts wanted; text i draws with seed options.sampling.seed + i
  bool cache_prompt = true;      ///< take what is remembered of the prompt, and remember it
  bool prompt_logprobs = false;  ///< score the prompt: options.sampling.logprobs likeliest tokens per position
  std::int64_t score_from = 1;   ///< first position scored; what lies before may come from the cache
  int slot = -1;                 ///< >= 0: this slot and no other (waits for it); see Engine::slots()
  std::optional<std::chrono::steady_clock::time_point> deadline;  ///< cancelled then, with kTimeout
};

/// Why not more of a prompt came from the cache.
enum class CacheMiss : std::uint8_t {
  kNone,      ///< all but what must be read to go on
  kCold,      ///< nothing that begins like this prompt was ever read, or all of it was evicted
  kDiverged,  ///< the prompt differs from what was read from here on; the last checkpoint lies before
  kNotKept,   ///< all of the prompt was read before, but the last checkpoint lies some tokens before its end
  kEvicted,   ///< a checkpoint further on existed and made room for others
  kScored,    ///< scored positions are computed anew
  kNotAsked,  ///< cache_prompt was false
};

/// What happened to a request since the last look.  Events of text `index` arrive in order.
struct EngineEvent {
  /// There is more of the prompt read or more tokens, or the text is over or has failed.
  enum class Kind : std::uint8_t { kPrompt, kTokens, kFinished, kFailed } kind = Kind::kTokens;
  int index = 0;  ///< which of the n texts

  // kPrompt, at first and again as reading goes on: progress.  prompt_done == tokens.prompt: all read.
  std::int64_t prompt_done = 0;
  TokenCounts tokens;  ///< prompt and cached; with kFinished all
  CacheMiss miss = CacheMiss::kNone;
  std::vector<SampledToken> prompt_logprobs;  ///< one per position from score_from on, with the last kPrompt

  // kTokens and kFinished
  std::string text;                    ///< newly certain; control tokens left out, nothing of a stop string
  std::vector<Token> ids;              ///< newly drawn, stop tokens included
  std::vector<SampledToken> logprobs;  ///< one per id, if asked for

  // kFinished
  FinishReason reason = FinishReason::kStop;
  std::string stop_string;
  double queue_seconds = 0, prompt_seconds = 0, decode_seconds = 0;

  // kFailed: the request is over, no other suffered.
  ErrorCode error = ErrorCode::kFailure;
  std::string message;
};

/// The reader's end of a request.  Destroying it cancels the request.
/// Thread safety: one reader thread; cancel() from any.
class Generation {
 public:
  virtual ~Generation() = default;

  /// Takes the oldest waiting event; false if there is none.
  virtual bool poll(EngineEvent& event) = 0;

  /// Waits for an event.  REQUIRES: not over().
  virtual EngineEvent wait() = 0;

  /// The last text's kFinished or kFailed was taken.
  virtual bool over() const = 0;

  /// Ends the request within one step of the engine; events of reason kCancelled follow.
  virtual void cancel() = 0;

  virtual std::uint64_t id() const = 0;  ///< of this request, unique to the engine
};

/// One slot as a person may look at it.
struct SlotInfo {
  int id = 0;
  bool busy = false;
  std::uint64_t request = 0;  ///< of the text in it, or the last one that was
  std::int64_t prompt_tokens = 0, prompt_done = 0, generated_tokens = 0, ctx_size = 0;
  std::int64_t kept_tokens = 0;  ///< of the slot's last text, once it is over: what a saved session holds
};

/// Counters since the start, and gauges.  Histograms are the server's business.
struct EngineStats {
  std::int64_t running = 0, waiting = 0;
  std::uint64_t requests = 0, finished = 0, cancelled = 0, failed = 0, refused = 0;
  TokenCounts tokens;  ///< of all texts; what a text has to read again counts again as prompt
  std::uint64_t steps = 0, preemptions = 0;
  double prompt_seconds = 0, decode_seconds = 0;  ///< of the engine's time
  std::size_t cache_bytes = 0, cache_budget = 0, checkpoints = 0;
  std::uint64_t checkpoints_evicted = 0;
  std::size_t state_bytes = 0;                          ///< of texts in the making
  std::chrono::steady_clock::time_point last_progress;  ///< a layer's or step's end, or when there was nothing to do
  bool healthy = true;                                  ///< false once the engine's thread has died
};

/// Runs a model for many texts at once: continuous batching, checkpoints of what was read, sessions on disk.
///
/// Role      the only owner of Model and states while it lives.  One thread runs steps; each step is one forward pass
///           over the next token of every decoding text and pieces of prompts that are being read.
/// Contract  a text's tokens depend on its request alone: not on what else runs, on what the cache held, on pauses,
///           or on speculation (docs/serving.md says how).
/// Threads   all methods may be called from any thread.
class Engine {
 public:
  /// Takes the model; `tokenizer` must outlive the engine.
  /// Throws Error(kOutOfMemory) naming the flag to lower if the plan does not fit the memory that is free.
  Engine(Model model, const Tokenizer& tokenizer, const EngineOptions& options);
  ~Engine();  ///< cancels what runs

  /// Queues a request.  `notify` (may be empty) is called from the engine's thread, and must not block, when events
  /// have come to a reader that had none waiting.
  /// Throws Error(kInvalidArgument) for an impossible request (the message names the field, and a prompt longer than
  /// ctx_size is one), Error(kBusy) if the queue is full or the engine is draining.
  std::unique_ptr<Generation> submit(EngineRequest request, std::function<void()> notify = {});

  EngineStats stats() const;            ///< as of now
  std::vector<SlotInfo> slots() const;  ///< as of now, one for each slot

  /// What a session file holds.
  struct SavedSession {
    std::int64_t tokens = 0;
    std::size_t bytes = 0;
  };

  /// Writes all checkpoints of the slot's last text into one file; see docs/serving.md#sessions.
  /// Throws Error(kInvalidArgument | kBusy) for a slot that is no slot, empty or busy, Error(kCannotWrite).
  /// Returns tokens and bytes written.
  SavedSession save_slot(int slot, const std::filesystem::path& file);
  /// Brings a session back: the next request that begins like it goes on from it.  Throws as opening a session does.
  SavedSession restore_slot(int slot, const std::filesystem::path& file);
  /// Forgets what the slot's last text left in the cache; returns its tokens.
  std::int64_t erase_slot(int slot);

  /// From now on submit() refuses; returns when all texts are over, or false when `timeout` has passed.
  bool drain(std::chrono::milliseconds timeout);

  const EngineOptions& options() const;  ///< with a value for every "0: ..."
  const ModelArgs& args() const;         ///< of the model
  const Tokenizer& tokenizer() const;    ///< of the model
  MemoryPlan memory_plan() const;        ///< of the model

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kl
