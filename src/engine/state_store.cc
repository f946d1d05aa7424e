#include "engine/state_store.h"

#include <algorithm>
#include <limits>

#include "model/internals.h"
#include "model/sequence_state.h"

namespace kl {
namespace {

// Evicted places are remembered, to say that more was known once: so many, as long as texts take a small part of the
// budget.
constexpr std::size_t kMostGone = 1024, kTextsShare = 8;

/// Tokens cost the same to read as far as weights go; attention adds as much again every so many tokens before them.
constexpr double kTokensThatDouble = 8192;

std::int64_t common_length(std::span<const ReadToken> a, std::span<const ReadToken> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

}  // namespace

StateStore::Walk StateStore::walk(std::span<const ReadToken> text) const {
  auto* node = const_cast<Node*>(&nodes_.front());
  std::int64_t known = 0;
  while (known < std::ssize(text)) {
    const auto child = node->children.find(text[static_cast<std::size_t>(known)]);
    if (child == node->children.end()) break;
    const std::int64_t same = common_length(child->second->label, text.subspan(static_cast<std::size_t>(known)));
    known += same;
    if (same < std::ssize(child->second->label)) break;
    node = child->second;
  }
  return {node, known};
}

StateStore::Found StateStore::find(std::span<const ReadToken> text, std::int64_t most) {
  const auto [last, known] = walk(text);
  Found found;
  bool evicted = false;
  for (Node* node = last; node != nullptr; node = node->parent) {
    if (node->state && node->depth <= most) {
      node->clock = clock_;
      found.state = *node->state;
      found.tokens = node->depth;
      break;
    }
    evicted |= node->evicted && node->depth <= most;
  }
  if (found.tokens >= most) {
    found.miss = CacheMiss::kNone;
  } else if (evicted) {
    found.miss = CacheMiss::kEvicted;
  } else if (known == 0) {
    found.miss = CacheMiss::kCold;
  } else if (known >= most) {
    found.miss = CacheMiss::kNotKept;
  } else {
    found.miss = CacheMiss::kDiverged;
  }
  return found;
}

bool StateStore::has(std::span<const ReadToken> text) const {
  const Node* node = walk(text).node;
  return node->depth == std::ssize(text) && node->state != nullptr;
}

void StateStore::keep(std::span<const ReadToken> text, SequenceState state) {
  if (text.empty() || state.bytes() > budget_) return;
  Node* node = node_for(text);
  node->clock = clock_;
  if (node->state) return;
  for (const Node* before = node->parent; before != nullptr; before = before->parent) {
    if (!before->state) continue;
    share_latents(Internals::of(*before->state), Internals::of(state));
    break;
  }
  count(state, true);
  node->state = std::make_shared<const SequenceState>(std::move(state));
  node->evicted = false;
  std::erase(gone_, node);
  ++num_states_;
  make_room();
}

std::vector<std::shared_ptr<const SequenceState>> StateStore::along(std::span<const ReadToken> text) const {
  std::vector<std::shared_ptr<const SequenceState>> states;
  for (const Node* node = walk(text).node; node != nullptr; node = node->parent)
    if (node->state) states.push_back(node->state);
  std::reverse(states.begin(), states.end());
  return states;
}

void StateStore::forget(std::span<const ReadToken> text) {
  Node* node = walk(text).node;
  while (node->parent != nullptr && node->children.empty()) {
    if (node->state) drop_state(node);
    node->evicted = false;
    std::erase(gone_, node);
    node = prune(node);
  }
}

/// The node where `text` ends, made if there is none.
StateStore::Node* StateStore::node_for(std::span<const ReadToken> text) {
  const auto [node, known] = walk(text);
  const auto at = static_cast<std::size_t>(node->depth);
  if (at == text.size()) return node;
  const auto child = node->children.find(text[at]);
  if (child == node->children.end()) return add_child(node, text.subspan(at));
  Node* middle = split(child->second, static_cast<std::size_t>(known) - at);
  return static_cast<std::size_t>(known) == text.size()
             ? middle
             : add_child(middle, text.subspan(static_cast<std::size_t>(known)));
}

StateStore::Node* StateStore::add_child(Node* parent, std::span<const ReadToken> label) {
  Node& node = nodes_.emplace_back();
  node.self = std::prev(nodes_.end());
  node.label.assign(label.begin(), label.end());
  node.parent = parent;
  node.depth = parent->depth + std::ssize(label);
  node.clock = clock_;
  parent->children[label.front()] = &node;
  count_text(label.size(), true);
  return &node;
}

/// Puts a node between `child` and its parent, after `at` tokens of the child's label.
StateStore::Node* StateStore::split(Node* child, std::size_t at) {
  const std::vector<ReadToken> label = std::move(child->label);
  count_text(label.size(), false);
  Node* middle = add_child(child->parent, std::span(label).first(at));
  child->label.assign(label.begin() + static_cast<std::ptrdiff_t>(at), label.end());
  count_text(child->label.size(), true);
  child->parent = middle;
  middle->children[child->label.front()] = child;
  return middle;
}

/// Books the memory of a state that comes in or goes out: each block with the first and the last state that has it.
void StateStore::count(const SequenceState& state, bool in) {
  Internals::of(state).for_each_block([&](const void* block, std::size_t bytes) {
    if (in) {
      if (blocks_[block]++ == 0) bytes_ += bytes;
    } else if (const auto entry = blocks_.find(block); --entry->second == 0) {
      blocks_.erase(entry);
      bytes_ -= bytes;
    }
  });
}

void StateStore::count_text(std::size_t tokens, bool in) {
  const std::size_t bytes = tokens * sizeof(ReadToken);
  text_bytes_ = in ? text_bytes_ + bytes : text_bytes_ - bytes;
  bytes_ = in ? bytes_ + bytes : bytes_ - bytes;
}

void StateStore::drop_state(Node* node) {
  count(*node->state, false);
  node->state.reset();
  --num_states_;
}

/// Removes the node and those before it that serve nothing any more.  Returns the first that stays.
StateStore::Node* StateStore::prune(Node* node) {
  while (node->parent != nullptr && !node->state && !node->evicted && node->children.empty()) {
    Node* parent = node->parent;
    parent->children.erase(node->label.front());
    count_text(node->label.size(), false);
    nodes_.erase(node->self);
    node = parent;
  }
  return node;
}

/// What recomputing the state costs per byte that dropping it frees, and how long ago it was used.
double StateStore::worth(const Node& node) const {
  const Node* before = node.parent;
  while (before != nullptr && !before->state) before = before->parent;
  const auto depth = static_cast<double>(node.depth);
  const double tokens = depth - static_cast<double>(before == nullptr ? 0 : before->depth);
  const auto fixed = static_cast<double>(Internals::of(*node.state).fixed_bytes());
  const double latents = (static_cast<double>(node.state->bytes()) - fixed) * tokens / depth;
  return node.clock + tokens * (1 + depth / kTokensThatDouble) / (fixed + latents);
}

void StateStore::make_room() {
  while (bytes_ > budget_ && num_states_ > 0) {
    Node* least = nullptr;
    double least_worth = std::numeric_limits<double>::infinity();
    for (Node& node : nodes_) {
      if (!node.state) continue;
      if (const double w = worth(node); w < least_worth) {
        least = &node;
        least_worth = w;
      }
    }
    clock_ = std::max(clock_, least_worth);
    drop_state(least);
    ++num_evicted_;
    least->evicted = true;
    gone_.push_back(least);
    forget_where_states_were();
  }
}

void StateStore::forget_where_states_were() {
  while (!gone_.empty() && (gone_.size() > kMostGone || text_bytes_ > budget_ / kTextsShare)) {
    Node* oldest = gone_.front();
    gone_.pop_front();
    oldest->evicted = false;
    prune(oldest);
  }
}

}  // namespace kl
