#pragma once
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "kl/engine.h"
#include "kl/model.h"
#include "kl/read_token.h"

namespace kl {

/// Checkpoints of texts that were read, under one budget of bytes.
///
/// Role      KDA's update cannot be inverted, so a text can be taken up again only where its state was kept.  The store
///           is a tree of texts; some of its nodes hold a SequenceState, which is all of what a model remembers there:
///           latents without the KDA state of the same token cannot be had from it, so they can never be continued.
/// Sharing   states copied from one another share latent blocks; a block is counted once, however many states hold it.
/// Eviction  the state whose recomputation costs least per byte it frees goes first, and what was used lately is worth
///           more: GreedyDual-Size (Cao and Irani 1997).  What it costs to recompute a state is counted from the
///           nearest one before it, so a ladder of states thins out evenly instead of disappearing as a whole.
/// Thread safety: none.
class StateStore {
 public:
  explicit StateStore(std::size_t budget) : budget_(budget) { nodes_.emplace_back(); }
  StateStore(const StateStore&) = delete;
  StateStore& operator=(const StateStore&) = delete;

  /// What find() returns.
  struct Found {
    SequenceState state;      ///< a copy; without a value if nothing was found
    std::int64_t tokens = 0;  ///< how many of the text it has read
    CacheMiss miss = CacheMiss::kNone;
  };

  /// The longest beginning of `text` of at most `most` tokens whose state is kept.
  Found find(std::span<const ReadToken> text, std::int64_t most);

  /// Remembers what `state` has read, which must be `text`.  May evict others, or not keep it if it alone is too big.
  void keep(std::span<const ReadToken> text, SequenceState state);

  bool has(std::span<const ReadToken> text) const;

  /// All states along `text`, shortest first.  Not copies: let go of them on the store's thread.
  std::vector<std::shared_ptr<const SequenceState>> along(std::span<const ReadToken> text) const;

  /// Drops the states that only `text` passes through: from its end back to where another text branches off.
  void forget(std::span<const ReadToken> text);

  std::size_t bytes() const { return bytes_; }
  std::size_t budget() const { return budget_; }
  std::size_t size() const { return num_states_; }
  std::uint64_t num_evicted() const { return num_evicted_; }

 private:
  /// A point in the tree: the text from the root to here, of which `label` is the part since the parent.
  struct Node {
    std::vector<ReadToken> label;
    Node* parent = nullptr;
    std::map<ReadToken, Node*> children;         // by the first token of their label
    std::int64_t depth = 0;                      // tokens from the root
    std::shared_ptr<const SequenceState> state;  // null: none
    double clock = 0;                            // of the last use
    bool evicted = false;                        // had a state once
    std::list<Node>::iterator self;
  };

  /// How far a text leads into the tree: the last node reached whole, and the tokens known in all.
  struct Walk {
    Node* node;
    std::int64_t known;
  };
  Walk walk(std::span<const ReadToken> text) const;

  Node* node_for(std::span<const ReadToken> text);
  Node* add_child(Node* parent, std::span<const ReadToken> label);
  Node* split(Node* child, std::size_t at);
  void count(const SequenceState& state, bool in);
  void count_text(std::size_t tokens, bool in);
  void drop_state(Node* node);
  Node* prune(Node* node);
  void make_room();
  void forget_where_states_were();
  double worth(const Node& node) const;

  const std::size_t budget_;
  std::list<Node> nodes_;                                  // the first is the root
  std::unordered_map<const void*, std::uint32_t> blocks_;  // how many states hold each piece of memory
  std::deque<Node*> gone_;  // nodes kept only to say that a state was evicted, oldest first
  std::size_t bytes_ = 0, text_bytes_ = 0, num_states_ = 0;
  std::uint64_t num_evicted_ = 0;
  double clock_ = 0;
};

}  // namespace kl
