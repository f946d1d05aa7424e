#include "evaluation/windows.h"

#include <fmt/format.h>

#include <algorithm>

#include "kl/error.h"

namespace kl {
namespace {

constexpr std::int64_t kMostTogether = 256;  // windows: each has a state

/// Hands the logits of a batch of windows to the scorer.
class WindowObserver : public ForwardObserver {
 public:
  WindowObserver(const OnScored& on_scored, const Progress& progress, std::int64_t total)
      : on_scored_(on_scored), progress_(progress), total_(total) {}

  /// Tokens that come after the positions of each sequence of the next forward().
  void expect(std::vector<std::span<const Token>> coming) { coming_ = std::move(coming); }
  void finish_call(std::int64_t tokens) { done_ += tokens; }

  void on_logits(int sequence, std::int64_t index, std::span<const float> logits) override {
    on_scored_(coming_[static_cast<std::size_t>(sequence)][static_cast<std::size_t>(index)], logits);
  }
  bool on_progress(std::int64_t done, std::int64_t) override {
    if (progress_) progress_("reading text", done_ + done, total_);
    return true;
  }

 private:
  const OnScored& on_scored_;
  const Progress& progress_;
  std::int64_t total_, done_ = 0;
  std::vector<std::span<const Token>> coming_;
};

}  // namespace

Windows cut_windows(std::int64_t num_tokens, int context, int stride) {
  Windows w;
  if (context < 3)
    throw Error(ErrorCode::kInvalidArgument, fmt::format("context: expected at least 3, got {}", context));
  w.length = context + stride / 2;
  w.step = stride > 0 ? stride : context;
  w.unscored = stride > 0 ? w.length - stride : context / 2 + 1;
  if (stride < 0 || w.unscored < 1) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("stride: expected one below the window's {} tokens, got {}", w.length, stride));
  }
  if (num_tokens < 2 * w.length) {
    throw Error(ErrorCode::kCorrupt, fmt::format("text: expected at least {} tokens, two windows of {}, got {}",
                                                 2 * w.length, w.length, num_tokens));
  }
  w.count = stride > 0 ? (num_tokens - w.length + stride - 1) / stride : num_tokens / context;
  return w;
}

void read_windows(Model& model, std::span<const Token> tokens, const Windows& w, int batch, Token first,
                  const OnScored& on_scored, const Progress& progress) {
  // A window is read in two calls, as logits are wanted of its second part only: a batch should fill a pass in both.
  const std::int64_t silent = w.unscored - 1, shorter = silent > 0 ? std::min(silent, w.positions()) : w.positions();
  const std::int64_t together =
      batch > 0
          ? batch
          : std::clamp<std::int64_t>((model.memory_plan().chunk_tokens + shorter - 1) / shorter, 1, kMostTogether);
  WindowObserver observer(on_scored, progress, w.count * w.read());
  for (std::int64_t from = 0; from < w.count; from += together) {
    const auto count = static_cast<std::size_t>(std::min(together, w.count - from));
    std::vector<std::vector<Token>> texts(count);
    std::vector<SequenceState> states(count);
    std::vector<SequenceInput> heads, tails;
    std::vector<std::span<const Token>> coming;
    for (std::size_t i = 0; i < count; ++i) {
      const auto window = tokens.subspan(static_cast<std::size_t>((from + static_cast<std::int64_t>(i)) * w.step),
                                         static_cast<std::size_t>(w.length));
      texts[i].assign(window.begin(), window.end());
      if (first >= 0) texts[i][0] = first;
      states[i] = model.make_cache();
      const std::span<const Token> text = texts[i];
      if (silent > 0) heads.push_back({&states[i], text.first(static_cast<std::size_t>(silent)), WantLogits::kNone});
      const auto scored = static_cast<std::size_t>(w.positions());
      tails.push_back({&states[i], text.subspan(static_cast<std::size_t>(silent), scored), WantLogits::kAll});
      coming.push_back(text.last(scored));
    }
    if (!heads.empty()) observer.finish_call(model.forward(heads, observer));
    observer.expect(std::move(coming));
    observer.finish_call(model.forward(tails, observer));
  }
}

}  // namespace kl
