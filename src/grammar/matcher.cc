#include "grammar/matcher.h"

#include <algorithm>

namespace kl::grammar {
Matcher::Matcher(const Automaton& automaton) : automaton_(&automaton) {
  pending_.push_back({automaton.rules[automaton.root], {}, kNoFrame});
  settle();
  ways_ = reached_;
  may_end_ = reached_end_;
}

bool Matcher::read(std::string_view bytes) {
  for (const char c : bytes) {
    step(ways_, static_cast<std::uint8_t>(c));
    ways_.swap(reached_);
    may_end_ = reached_end_;
    if (ways_.empty() && !may_end_) return false;
  }
  forget_unused_frames();
  return true;
}

/// The frame, which may be one that this step has just opened: equal ways should have equal frames.
std::int32_t Matcher::open(const Frame& frame) {
  constexpr std::size_t kLatest = 8;
  const std::size_t first = std::max(first_new_frame_, frames_.size() - std::min(frames_.size(), kLatest));
  for (std::size_t i = frames_.size(); i > first; --i) {
    if (frames_[i - 1] == frame) return static_cast<std::int32_t>(i - 1);
  }
  frames_.push_back(frame);
  return static_cast<std::int32_t>(frames_.size() - 1);
}

/// Fills reached_ and reached_end_ with all that `byte` leads to.
void Matcher::step(std::span<const Way> from, std::uint8_t byte) {
  begin_step();
  const bool alone = from.size() == 1;
  for (const Way& way : from) {
    const Edge* edge = automaton_->graph.find(way.state, byte);
    if (edge == nullptr) continue;
    Way next{edge->target, way.count, way.frame};
    if (!apply(edge->action, next.count)) continue;
    const State& state = automaton_->graph.states[next.state];
    if (alone && state.height == 0 && state.num_calls == 0 && !state.final) {
      reached_.push_back(next);  // the common case, inside strings: nothing to follow
      return;
    }
    pending_.push_back(next);
  }
  settle();
}

void Matcher::begin_step() {
  reached_.clear();
  reached_end_ = false;
  seen_.clear();
  if (!many_seen_.empty()) many_seen_.clear();
  first_new_frame_ = frames_.size();
}

/// Has this step not met `way` before?
bool Matcher::is_new(const Way& way) {
  constexpr std::size_t kFew = 16;
  if (seen_.size() < kFew) {
    if (std::find(seen_.begin(), seen_.end(), way) != seen_.end()) return false;
    seen_.push_back(way);
    return true;
  }
  if (many_seen_.empty()) many_seen_.insert(seen_.begin(), seen_.end());
  return many_seen_.insert(way).second;
}

/// Follows calls and ends of rules from what is pending until only states with edges are left.
void Matcher::settle() {
  while (!pending_.empty()) {
    const Way next = pending_.back();
    pending_.pop_back();
    const State& state = automaton_->graph.states[next.state];
    const std::uint32_t depth = next.frame == kNoFrame ? 0 : frames_[static_cast<std::size_t>(next.frame)].depth;
    if (depth + state.height > automaton_->depth) continue;
    if (reached_.size() >= kMostWays || !is_new(next)) continue;
    if (state.num_edges > 0) reached_.push_back(next);
    follow(next);
  }
}

void Matcher::follow(const Way& way) {
  const Graph& graph = automaton_->graph;
  for (const Call& call : graph.calls_of(way.state)) {
    Frame frame{call.target, way.count, way.frame, 0};
    if (!apply(call.action, frame.count)) continue;
    const StateId start = automaton_->rules[call.rule];
    if (automaton_->only_ends(call.target)) {
      pending_.push_back({start, call.count, way.frame});
      continue;
    }
    frame.depth = 1 + (way.frame == kNoFrame ? 0 : frames_[static_cast<std::size_t>(way.frame)].depth);
    const std::uint32_t needed = std::max<std::uint32_t>(graph.states[start].height + frame.depth,
                                                         graph.states[call.target].height + frame.depth - 1);
    if (needed > automaton_->depth) continue;
    pending_.push_back({start, call.count, open(frame)});
  }
  if (graph.states[way.state].final) leave(way);
}

void Matcher::leave(const Way& way) {
  if (way.frame == kNoFrame) {
    reached_end_ = true;
    return;
  }
  const Frame& frame = frames_[static_cast<std::size_t>(way.frame)];
  pending_.push_back({frame.state, frame.count, frame.parent});
}

/// Keeps the frames that ways lead to, once others have piled up.
void Matcher::forget_unused_frames() {
  constexpr std::size_t kFew = 256;
  if (frames_.size() < kFew) return;
  std::vector<bool> used(frames_.size());
  for (const Way& way : ways_) {
    for (std::int32_t f = way.frame; f != kNoFrame && !used[static_cast<std::size_t>(f)];) {
      used[static_cast<std::size_t>(f)] = true;
      f = frames_[static_cast<std::size_t>(f)].parent;
    }
  }
  std::vector<std::int32_t> moved(frames_.size(), kNoFrame);
  std::size_t kept = 0;
  const auto place = [&](std::int32_t f) { return f == kNoFrame ? kNoFrame : moved[static_cast<std::size_t>(f)]; };
  for (std::size_t i = 0; i < frames_.size(); ++i) {  // parents stand before their children
    if (!used[i]) continue;
    frames_[kept] = frames_[i];
    frames_[kept].parent = place(frames_[kept].parent);
    moved[i] = static_cast<std::int32_t>(kept++);
  }
  frames_.resize(kept);
  for (Way& way : ways_) way.frame = place(way.frame);
}

/// Walks the trie with a stack of sets of ways, one for each byte of the path.
///
/// Tokens whose ticks do not fit `count` are left out: those of a trie of rests were taken before the walk.
void Matcher::walk(const TokenTrie& trie, std::vector<Way> start, Count count, std::span<std::uint64_t> mask) {
  struct Level {
    std::uint32_t end;       // of the node's subtree
    std::size_t first_way;   // in `ways`
    std::size_t num_frames;  // before its children
  };
  if (trie.size() < 2) return;
  std::vector<Way> ways = std::move(start);
  std::vector<Level> path = {{trie.size(), 0, frames_.size()}};
  for (std::uint32_t node = 1; node < trie.size();) {
    while (node == path.back().end) {
      ways.resize(path.back().first_way);
      path.pop_back();
    }
    frames_.resize(path.back().num_frames);
    step(std::span(ways).subspan(path.back().first_way), trie.byte(node));
    if (reached_.empty() && !reached_end_) {
      node = trie.end(node);
      continue;
    }
    for (std::uint32_t text = trie.first_text(node); text < trie.first_text(node + 1); ++text) {
      if (count.need <= trie.ticks(text) && trie.ticks(text) <= count.room) set_bit(mask, trie.token(text));
    }
    if (reached_.empty() || trie.end(node) == node + 1) {
      node = trie.end(node);
      continue;
    }
    path.push_back({trie.end(node), ways.size(), frames_.size()});
    ways.insert(ways.end(), reached_.begin(), reached_.end());
    ++node;
  }
  frames_.resize(path.front().num_frames);
}

void Matcher::add_allowed(MaskCache& masks, std::span<std::uint64_t> mask) {
  std::vector<Way> others;
  for (const Way& way : ways_) {
    const auto state_mask = masks.find(way.state);
    if (!state_mask) {
      others.push_back(way);
      continue;
    }
    state_mask->add_inside(way.count, mask);
    state_mask->add_ending(way.count, mask);
    if (state_mask->leaving().size() < 2) continue;
    const std::size_t num_frames = frames_.size();
    begin_step();
    leave(way);
    settle();
    walk(state_mask->leaving(), reached_, way.count, mask);
    frames_.resize(num_frames);
  }
  if (!others.empty()) walk(masks.vocabulary().trie, std::move(others), {}, mask);
}

}  // namespace kl::grammar
