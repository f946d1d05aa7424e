#pragma once
// A text cut into windows, and a model reading them.
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kl/model.h"

namespace kl {

/// Windows of `length` tokens that begin every `step` tokens; of each the tokens after the first `unscored` are scored.
struct Windows {
  std::int64_t length = 0, step = 0;
  std::int64_t unscored = 0;  ///< at least 1: nothing says how likely a first token is
  std::int64_t count = 0;

  std::int64_t positions() const { return length - unscored; }  ///< scored in each
  std::int64_t read() const { return length - 1; }              ///< tokens fed of each: the last one is only foretold
};

/// The windows of llama-perplexity.
///
///     stride 0   length c, step c, scored: tokens c/2 + 1 .. c - 1
///     stride s   length c + s/2, step s, scored: the last s
///
/// Throws Error(kInvalidArgument) for a context or stride that leaves nothing to score or to read before it, and
/// Error(kCorrupt) if there are fewer than two windows' tokens, as llama-perplexity wants.
Windows cut_windows(std::int64_t num_tokens, int context, int stride);

/// Called for every scored token of every window in order: the token and the logits before it.
using OnScored = std::function<void(Token came, std::span<const float> logits)>;

/// Feeds the windows, `batch` at a time (0: as many as fill a pass).  Logits are computed of scored positions only.
/// `first` replaces the first token of each window unless it is negative.
/// `progress` counts tokens, and is called after every pass; `on_scored` may throw to stop.
void read_windows(Model& model, std::span<const Token> tokens, const Windows& windows, int batch, Token first,
                  const OnScored& on_scored, const Progress& progress);

}  // namespace kl
