#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kl/model_args.h"
#include "kl/options.h"
#include "kl/profile.h"
#include "kl/tokenizer.h"

namespace kl {

/// The kernel tables this CPU can run, best first: what ModelOptions::isa may name.
std::vector<std::string> available_isas();

/// The table Model::open would take for this ModelOptions::isa.  Throws as it does.
std::string chosen_isa(std::string_view isa = {});

struct Internals;  // the library's own way into the classes below: src/model/internals.h

/// What a sequence has become after the tokens fed so far: per KDA layer the state S and the last W-1 inputs of the
/// short convolutions, per MLA layer the cached latents.
///
/// Copying is taking a snapshot: KDA states are copied, latents are shared with the original and only ever appended to.
/// A state belongs to the model that made it.  Not thread safe; different states may be used by different threads.
///
/// Tokens may be fed tentatively (SequenceInput::tentative) and taken back; beside the state then lies what keep() needs
/// to make the first few of them true.  Results have the bits of a state that was never fed the others.
class SequenceState {
 public:
  SequenceState();  ///< no state: has_value() is false
  SequenceState(const SequenceState&);
  SequenceState(SequenceState&&) noexcept;
  SequenceState& operator=(const SequenceState&);
  SequenceState& operator=(SequenceState&&) noexcept;
  ~SequenceState();

  bool has_value() const { return impl_ != nullptr; }  ///< false for a default-constructed or moved-from object
  std::int64_t num_tokens() const;                     ///< tokens fed so far, without tentative ones
  std::size_t bytes() const;                           ///< memory held, latents shared with snapshots counted in full

  std::int64_t num_tentative()
      const;  ///< tokens fed since that wait for keep(); forward() refuses the state until then

  /// Of the tentative tokens the first `count` are true; the others never were.  Costs next to nothing: latents are cut
  /// off, and the next forward() writes what was kept into the KDA states before it goes on.
  /// Throws Error(kInvalidArgument), with nothing changed, unless 0 <= count <= num_tentative().
  void keep(std::int64_t count);

  /// Whether the KDA states are those after num_tokens() tokens; if not, forward() or Model::settle() sees to it.
  bool is_settled() const;

  /// For timing: makes the state cost as much as one after num_tokens tokens by repeating the cached latents in order.
  /// KDA states stay as they are: their size does not change.  What the model makes of it is noise.
  /// Throws Error(kInvalidArgument) if num_tokens is less than there are, there is nothing to repeat or tokens are
  /// tentative, and Error(kOutOfMemory); nothing is changed then.
  void repeat_to(std::int64_t num_tokens);

  // Copies in the layouts of docs/notation.md, for inspection and tests.  Empty if the layer is of the other kind.
  // Tentative tokens are not in them.  The first two throw Error(kInvalidArgument) unless is_settled().
  std::vector<float> kda_state(int layer) const;   ///< [H, K, V]
  std::vector<float> conv_state(int layer) const;  ///< [3, W-1, H*K]: raw q, k, v projections, oldest first
  std::vector<float> mla_latent(int layer) const;  ///< [num_tokens, R]: normalised latent
  std::vector<float> mla_k_pe(int layer) const;    ///< [num_tokens, P]: shared key part

 private:
  friend struct Internals;
  struct Impl;
  explicit SequenceState(std::unique_ptr<Impl> impl);  ///< for the library itself

  std::unique_ptr<Impl> impl_;
};

/// Which positions of a sequence's new tokens should give logits.
enum class WantLogits : std::uint8_t { kNone, kLast, kAll };

/// One sequence's share of a ragged batch.
struct SequenceInput {
  SequenceState* state = nullptr;  ///< advanced by the call
  std::span<const Token> tokens;   ///< new tokens, at least one
  WantLogits want = WantLogits::kLast;
  MlaForm form = MlaForm::kAuto;  ///< for a model whose ModelOptions leave the choice; kAuto: by the count of tokens,
                                  ///< and absorbed, as for single tokens, if any are tentative
  std::int64_t tentative = 0;  ///< the last so many tokens may be taken back: SequenceState::keep() says how many stay
};

/// Receives results of Model::forward as passes finish.  Pointers are valid during the call only.
/// An exception thrown by an observer passes through forward(); the states of that batch must not be used again.
class ForwardObserver {
 public:
  virtual ~ForwardObserver() = default;

  /// Logits [vocab_size] of new token `index` of sequence `sequence` of the batch; ascending index per sequence.
  virtual void on_logits(int sequence, std::int64_t index, std::span<const float> logits) = 0;

  /// If true, on_hidden and on_router are called as well.
  virtual bool wants_layers() const { return false; }

  /// Residual stream [D] after `layer` for one new token.
  virtual void on_hidden(int layer, int sequence, std::int64_t index, std::span<const float> hidden);

  /// The chosen experts in ascending order and their final weights, [A] each, for one new token.
  virtual void on_router(int layer, int sequence, std::int64_t index, std::span<const std::int32_t> ids,
                         std::span<const float> weights);

  /// Called after each pass over the layers with the tokens done so far; returning false ends the call early, leaving
  /// every state exactly where that pass left it.
  virtual bool on_progress(std::int64_t tokens_done, std::int64_t tokens_total);
};

/// Memory a model needs, in bytes.
struct MemoryPlan {
  std::size_t weights_mapped = 0;       ///< tensors used in place from the files
  std::size_t weights_copied = 0;       ///< small tensors converted at load
  std::size_t scratch = 0;              ///< buffers of one pass, all threads
  std::size_t state_fixed = 0;          ///< per sequence, whatever its length (KDA)
  std::size_t state_per_token = 0;      ///< per sequence and token (MLA latents)
  std::size_t state_per_tentative = 0;  ///< per sequence and tentative token of a call, from the first such call on
  int chunk_tokens = 0;                 ///< most tokens of one pass
  int threads = 0;
};

/// What Model::open(dir, options).memory_plan() would say, without converting a weight or allocating any of it.
/// Throws as Model::open does.
MemoryPlan plan_memory(const std::filesystem::path& dir, const ModelOptions& options = {});

/// A Kimi Linear model ready to run: `KimiLinearModel` and its language-model head.
///
/// Thread safety: one forward() at a time; the object owns its worker threads.
class Model {
 public:
  /// Maps the weights of `dir`, a folder or a GGUF file, and checks all of them; those that are quantised in a way the
  /// kernels do not read are repacked in memory, without loss.
  /// Throws Error listing every missing, extra or misshapen tensor.
  static Model open(const std::filesystem::path& dir, const ModelOptions& options = {});

  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  const ModelArgs& args() const;        ///< as read from the folder, with the conventions that the options override
  const ModelOptions& options() const;  ///< as given to open()
  const char* isa() const;              ///< the kernel table in use
  int threads() const;                  ///< worker threads, the caller's included

  /// Weights that are used where they lie in the files are read from disk when they are first needed, expert by expert.
  /// This reads all of them now; progress counts bytes.
  void bring_into_memory(const Progress& progress = {}) const;

  /// All that the numbers of a state depend on, one NAME=VALUE a line: a digest of dimensions and weights, and the options
  /// that change a number.  A state of one model continues bit for bit in another of equal text.  The digest looks at a
  /// sample of the weights (docs/serving.md#sessions); computed at the first call, in less than a second at any size.
  /// Thread safe.
  const std::string& fingerprint() const;

  /// From now on forward() adds what it costs to *profile; null, as at first, makes it count nothing.
  void set_profile(Profile* profile);
  MemoryPlan memory_plan() const;

  /// Layers computed so far by forward(), ever: rises as long as a pass makes progress.  From any thread.
  std::uint64_t layers_done() const;

  /// An empty state: nothing read yet.
  SequenceState make_cache() const;

  /// Feeds every sequence its new tokens and reports logits.  Any number of sequences, each with any number of tokens;
  /// long inputs are cut into passes of at most chunk_tokens.  Results do not depend on the cut, on the other
  /// sequences, or on the number of threads (docs/numerics.md).
  ///
  /// Returns the number of tokens fed: all, unless the observer stopped the call.
  /// Throws Error(kInvalidArgument), with nothing changed, for a token outside the vocabulary, an empty sequence, a
  /// state of another model, one used twice or one that waits for keep(), more tentative tokens than there are tokens,
  /// and Error(kOutOfMemory) if latents cannot be stored.
  std::int64_t forward(std::span<const SequenceInput> batch, ForwardObserver& observer);

  /// Writes tokens that were kept into the KDA states now (is_settled()): to look at them, to save them, or to copy less.
  /// No result changes.  Throws Error(kInvalidArgument) for a state of another model.
  void settle(SequenceState& state);

  /// Convenience: feeds one sequence and returns the logits [vocab_size] after its last token.
  std::vector<float> forward(SequenceState& state, std::span<const Token> tokens);

 private:
  friend struct Internals;
  struct Impl;
  explicit Model(std::unique_ptr<Impl> impl);  ///< for the library itself

  std::unique_ptr<Impl> impl_;
};

}  // namespace kl
