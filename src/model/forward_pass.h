#pragma once
#include <span>
#include <vector>

#include "layers/context.h"
#include "model/sequence_state.h"

namespace kl {

/// A row of a pass whose logits somebody wants, and where it belongs.
struct WantedRow {
  std::ptrdiff_t row = 0;
  int sequence = 0;
  std::int64_t index = 0;
};

/// One trip of T tokens through all layers: the new tokens of any number of sequences, packed row after row.
struct ForwardPass {
  std::vector<Token> tokens;          // [T]
  std::vector<Segment> segments;      // which rows belong to which sequence
  std::vector<StateImpl*> states;     // [segments]
  std::vector<int> sequences;         // [segments] index in the caller's batch
  std::vector<std::int64_t> indices;  // [segments] index of its first row among its sequence's new tokens
  std::vector<WantedRow> wanted;      // whose logits somebody wants, in row order

  /// Makes it a pass of no tokens; memory is kept.
  void clear() {
    tokens.clear();
    segments.clear();
    states.clear();
    sequences.clear();
    indices.clear();
    wanted.clear();
  }
  std::ptrdiff_t T() const { return std::ssize(tokens); }  ///< rows

  /// Calls f(row, sequence, index) for every row in order.
  template <class F>
  void for_each_row(F&& f) const {
    for (std::size_t s = 0; s < segments.size(); ++s)
      for (std::ptrdiff_t t = 0; t < segments[s].count; ++t) f(segments[s].first + t, sequences[s], indices[s] + t);
  }
};

}  // namespace kl
